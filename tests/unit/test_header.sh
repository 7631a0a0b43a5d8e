#!/bin/sh
# vqz.h compiles alone, first and twice, in C99, C11, C17 and C++, without a warning; a C++ program that uses
# every function links with the library; the values that are part of the ABI are what they were.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp codec/vqz.h "$work"
printf '#include "vqz.h"\n#include "vqz.h"\nint main(void) { return vqz_version() == 0; }\n' >"$work/use.c"
cp "$work/use.c" "$work/use.cc"
for std in c99 c11 c17; do
    "${CC:-gcc}" -std=$std -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -c -o "$work/use.o" "$work/use.c"
done
case ${CC:-gcc} in
*clang*) cxx=clang++ ;;
*) cxx=g++ ;;
esac
for std in c++11 c++20; do
    "$cxx" -std=$std -Wall -Wextra -Wpedantic -Werror -c -o "$work/use.o" "$work/use.cc"
done
{
    echo '#include "vqz.h"'
    echo 'typedef void (*function)(void);'
    echo 'function all[] = {'
    sed -n 's/^vqz_.*/    reinterpret_cast<function>(&),/p' tests/unit/exports.txt
    echo '};'
    for value in OK=0 ERROR_ARGUMENT=1 ERROR_FORMAT=10 ERROR_TRUNCATED=11 ERROR_CORRUPT=12 ERROR_VERSION=20 \
        ERROR_UNSUPPORTED=21 ERROR_MODEL_INVALID=30 ERROR_MODEL_MISMATCH=31 ERROR_MEMORY=40 ERROR_LIMIT=41 \
        ERROR_IO=50 CPU_BEST=0 CPU_SCALAR=1 CPU_AVX2=2 CPU_AVX_VNNI=3 CPU_AVX512=4 CPU_AVX512_VNNI=5 \
        CPU_NEON=32 ENTROPY_AUTO=0 ENTROPY_RANS=1 ENTROPY_ZSTD=2 METADATA_ICC=1 METADATA_EXIF=2; do
        echo "static_assert(VQZ_${value%=*} == ${value#*=}, \"$value\");"
    done
    echo 'int main() { return all[0] == nullptr; }'
} >"$work/all.cc"
# shellcheck disable=SC2086 # LINK_FLAGS is a list
"$cxx" -std=c++11 -o "$work/all" "$work/all.cc" "${VQZ_BUILD:-build}/libvqz.so.0" ${LINK_FLAGS:-}
LD_LIBRARY_PATH="${VQZ_BUILD:-build}" "$work/all"
