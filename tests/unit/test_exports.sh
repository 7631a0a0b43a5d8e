#!/bin/sh
# libvqz.so.0 exports what tests/unit/exports.txt lists (a name that goes breaks programs, and needs another
# soname) and vqz.h declares, no more and no less, and the static library defines no global name outside
# vqz_ and vqzi_ that could clash in somebody's program.
set -eu
export LC_ALL=C
build=${VQZ_BUILD:-build}
exported=$(nm -D --defined-only "$build/libvqz.so.0" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)
declared=$(tr '\n' ' ' <codec/vqz.h | grep -o 'VQZ_API [^#;]*;' | grep -o 'vqz_[a-z_0-9]*(' | tr -d '(' | sort -u)
same() { # WHAT NAMES
    echo "$2" | diff tests/unit/exports.txt - || {
        echo "what $1 (>) is not what tests/unit/exports.txt lists (<)"
        exit 1
    }
}
same "libvqz.so.0 exports" "$exported"
same "vqz.h declares" "$declared"
clash=$(nm -A -g --defined-only "$build/libvqz.a" 2>/dev/null | awk '{ print $NF }' |
    grep -Ev '^vqzi?_|^__(asan|odr_asan|ubsan|tsan)' || true)
if [ -n "$clash" ]; then
    echo "global in libvqz.a without the prefix vqz_ or vqzi_: $clash"
    exit 1
fi
