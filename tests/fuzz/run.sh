#!/bin/sh
# run.sh BUILD SECONDS TARGET... - runs fuzz targets one after another; `make fuzz` calls it.
#
# An input of at most 64 KB may take one second (FUZZ_TIMEOUT on a busy machine) and 512 MB.  What a
# target finds is left in BUILD/findings; the exit code tells that there is something.
set -u
build=$1 seconds=$2
shift 2
failed=0
# Memory that AddressSanitizer holds back after millions of inputs is not that of one input.
export ASAN_OPTIONS="quarantine_size_mb=16:allocator_release_to_os_interval_ms=1000${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
for target in "$@"; do
    mkdir -p "$build/corpus/$target" "$build/findings"
    log=$build/fuzz_$target.log
    echo "== $target, $seconds s ($log)"
    "$build/tests/fuzz/fuzz_$target" -fork=0 -max_len=65536 -timeout="${FUZZ_TIMEOUT:-1}" \
        -rss_limit_mb=512 -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="$build/findings/$target-" "$build/corpus/$target" \
        "tests/fuzz/corpus/$target" >"$log" 2>&1
    code=$?
    grep -E '^(#.*DONE|stat::)' "$log"
    if [ $code -ne 0 ]; then
        failed=1
        grep -E 'ERROR|SUMMARY|runtime error|^tests/fuzz/|Test unit written' "$log"
    fi
done
exit $failed
