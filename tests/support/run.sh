#!/bin/sh
# run.sh WORD TEST... - runs test programs and scripts one after another; `make check` calls it.
#
# One line a test with its time; all it printed when it fails.  The last line, "N passed, N failed",
# counts the cmocka tests inside the programs; a script counts as one, and so does a program that
# crashes, runs out of time or prints no count.  Only tests whose path contains WORD are run ("": all).
# TEST_TIMEOUT (seconds, default 600: a guard against hanging, busy machines are slow) is for each.
set -u

word=$1
shift
limit=${TEST_TIMEOUT:-600}
log=$(mktemp "${TMPDIR:-/tmp}/vqz-check.XXXXXX") || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# Sleeping threads cost little on an idle machine and save much on a busy one.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
unset CMOCKA_MESSAGE_OUTPUT CMOCKA_XML_FILE

passed=0 failed=0 skipped=0

# sum PATTERN: total of the first number in lines "[  STATE  ] ... N test(s)" of the log.
sum() {
    sed -n "s/^\[ *$1 *\] *\(tests: \)\{0,1\}\([0-9][0-9]*\) test(s).*/\2/p" "$log" |
        awk '{ n += $1 } END { print n + 0 }'
}

for test in "$@"; do
    case $test in
    *"$word"*) ;;
    *) continue ;;
    esac
    name=${test#"${VQZ_BUILD:-}/"}
    name=${name##*tests/}
    case $test in
    /* | ./*) run=$test ;;
    *) run=./$test ;;
    esac
    start=$(date +%s%N)
    timeout -k 10 "$limit" "$run" >"$log" 2>&1 </dev/null
    code=$?
    seconds=$(awk -v a="$start" -v b="$(date +%s%N)" 'BEGIN { printf "%6.1f s", (b - a) / 1e9 }')
    good=0 bad=0 left=0
    case $test in
    *.sh) ;;
    *) good=$(sum PASSED) bad=$(sum FAILED) left=$(sum SKIPPED) ;;
    esac
    if [ $code -eq 0 ] && [ $((good + bad + left)) -eq 0 ]; then
        good=1
    elif [ $code -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    note=
    [ "$left" -gt 0 ] && note=", $left skipped"
    if [ "$bad" -eq 0 ]; then
        echo "ok    $seconds  $name ($good$note)"
        continue
    fi
    case $code in
    124 | 137) why="out of time ($limit s)" ;;
    12[89] | 1[3-9][0-9]) why="signal $((code - 128))" ;;
    *) why="exit code $code" ;;
    esac
    echo "FAIL  $seconds  $name ($good passed, $bad failed$note; $why)"
    sed 's/^/    | /' "$log"
done

[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
