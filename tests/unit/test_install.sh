#!/bin/sh
# A staged installation has every file, the program runs from it, a program builds against it with
# pkg-config, and uninstall leaves nothing behind.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Settings of the make that runs the tests (BUILD, SAN...) arrive in MAKEFLAGS.
run_make() {
    make -s --no-print-directory DESTDIR="$work/stage" PREFIX=/usr LIBDIR=/usr/lib \
        INCLUDEDIR=/usr/include MANDIR=/usr/share/man "$@"
}
run_make install
cd "$work/stage/usr"
listed=$(find . ! -type d | sort | tr '\n' ' ')
module=
if echo '#include <mpi.h>' | ${MPICC-mpicc} -E -x c - >/dev/null 2>&1; then
    module="./lib/vqz/vqz-mpi.so "
fi
wanted="./bin/vqz ./include/vqz.h ./lib/libvqz.a ./lib/libvqz.so ./lib/libvqz.so.0 ./lib/pkgconfig/vqz.pc $module./share/man/man1/vqz.1 "
[ "$listed" = "$wanted" ] || { echo "installed: $listed"; echo "expected:  $wanted"; exit 1; }
version=$(bin/vqz --version)
cd - >/dev/null

if grep -n @ "$work/stage/usr/lib/pkgconfig/vqz.pc"; then
    echo "vqz.pc has a place that was not filled in"
    exit 1
fi
export PKG_CONFIG_PATH="$work/stage/usr/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/stage"
case $version in
*"$(pkg-config --modversion vqz)"*) ;;
*) echo "vqz says '$version', vqz.pc '$(pkg-config --modversion vqz)'"; exit 1 ;;
esac
printf '#include <vqz.h>\n#include <stdio.h>\nint main(void) { return puts(vqz_version()) < 0; }\n' >"$work/use.c"
# pkg-config leaves out -I and -L of system folders, with or without a staging folder before them
PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS PKG_CONFIG_ALLOW_SYSTEM_LIBS
# shellcheck disable=SC2046,SC2086 # lists
"${CC:-gcc}" -o "$work/use" "$work/use.c" $(pkg-config --cflags --libs vqz) ${LINK_FLAGS:-}
LD_LIBRARY_PATH="$work/stage/usr/lib" "$work/use" >/dev/null

run_make uninstall
left=$(find "$work/stage" ! -type d -o -path '*/lib/vqz')
[ -z "$left" ] || { echo "uninstall left: $left"; exit 1; }
