#!/bin/sh
# check_arm.sh BUILD - builds the codec for 64-bit ARM and runs its tests under qemu; `make check-arm`.
#
# Only what needs zstd and cmocka alone and not minutes under qemu: the kernels (NEON against the
# reference), the quantiser, the worked example of the specification.  Says why and ends with success
# where the cross compiler, qemu or the libraries are missing.
set -eu
build=$1
cc=${ARM_CC:-aarch64-linux-gnu-gcc}
tests='kernels/test_kernels unit/test_quantise unit/test_example'

skip() {
    echo "check-arm: skipped, $1"
    exit 0
}
command -v "$cc" >/dev/null || skip "no $cc (Debian: gcc-aarch64-linux-gnu)"
command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64 (Debian: qemu-user)"
mkdir -p "$build"
echo 'int main(void) { return 0; }' | "$cc" -fopenmp -x c -o "$build/libraries" - -lzstd -lcmocka 2>/dev/null ||
    skip "no zstd and cmocka for arm64 (Debian: dpkg --add-architecture arm64; apt-get update; apt-get install libzstd-dev:arm64 libcmocka-dev:arm64)"

objects="$build/tests/support/random_model.o"
bench="$build/tests/kernels/bench.o $build/tests/kernels/peak.o"
wanted="$build/libvqz.a $objects $bench"
for test in $tests; do
    wanted="$wanted $build/tests/$test.o"
done
# shellcheck disable=SC2086 # lists
"${MAKE:-make}" -s CC="$cc" BUILD="$build" $wanted

# The cross compiler's run-time libraries lie where the loader does not look.
libraries=$(dirname "$("$cc" -print-file-name=libgomp.so.1)")
programs=
for test in $tests; do
    extra=
    [ "$test" = kernels/test_kernels ] && extra=$bench
    # shellcheck disable=SC2086 # lists
    "$cc" -fopenmp -o "$build/tests/$test.arm" "$build/tests/$test.o" $extra $objects \
        "$build/libvqz.a" -lcmocka -lzstd -lm
    printf '#!/bin/sh\nexec qemu-aarch64 -E LD_LIBRARY_PATH=%s %s "$@"\n' "$libraries" \
        "$build/tests/$test.arm" >"$build/tests/$test"
    chmod +x "$build/tests/$test"
    programs="$programs $build/tests/$test"
done
# shellcheck disable=SC2086 # a list
tests/support/run.sh '' $programs
