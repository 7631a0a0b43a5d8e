#!/bin/sh
# vqz.h compiles alone, first and twice, in C99, C11 and C++, without a warning.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp codec/vqz.h "$work"
printf '#include "vqz.h"\n#include "vqz.h"\nint main(void) { return vqz_version() == 0; }\n' >"$work/use.c"
cp "$work/use.c" "$work/use.cc"
for std in c99 c11; do
    "${CC:-gcc}" -std=$std -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -c -o "$work/use.o" "$work/use.c"
done
case ${CC:-gcc} in
*clang*) cxx=clang++ ;;
*) cxx=g++ ;;
esac
"$cxx" -std=c++11 -Wall -Wextra -Wpedantic -Werror -c -o "$work/use.o" "$work/use.cc"
