#!/bin/sh
# check_tsan.sh BUILD - the tests that share work between threads under ThreadSanitizer; `make
# check-tsan` calls it.
#
# Built with clang, whose OpenMP run-time tells ThreadSanitizer through libarcher when a parallel
# region begins and ends; without that every such loop would look like a race.
set -eu
build=$1
archer=$(clang -print-resource-dir)/../../libarcher.so
[ -e "$archer" ] || { echo "check-tsan: apt-get install libomp-dev (libarcher.so is missing)"; exit 1; }
export OMP_TOOL_LIBRARIES="$archer" ARCHER_OPTIONS=verbose=0
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=0 exitcode=66 history_size=4"
export VQZ="$build/vqz" VQZ_BUILD="$build"
for test in unit/test_team unit/test_threads unit/test_shared_model cli/test_parallel; do
    tests/support/run.sh '' "$build/tests/$test"
done
