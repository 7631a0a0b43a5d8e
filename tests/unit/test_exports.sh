#!/bin/sh
# libvqz.so.0 exports vqz_* and nothing else, all of what vqz.h declares, and the static library
# defines no global name outside vqz_ and vqzi_ that could clash in somebody's program.
set -eu
build=${VQZ_BUILD:-build}
exported=$(nm -D --defined-only "$build/libvqz.so.0" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)
foreign=$(echo "$exported" | grep -v '^vqz_' || true)
if [ -n "$foreign" ]; then
    echo "exported although not vqz_*:" $foreign
    exit 1
fi
declared=$(tr '\n' ' ' <codec/vqz.h | grep -o 'VQZ_API [^#;]*;' | grep -o 'vqz_[a-z_0-9]*(' | tr -d '(' | sort -u)
[ "$(echo "$declared" | wc -l)" -gt 10 ] || { echo "found too few declarations in vqz.h"; exit 1; }
for name in $declared; do
    echo "$exported" | grep -qx "$name" || { echo "declared in vqz.h but not exported: $name"; exit 1; }
done
clash=$(nm -A -g --defined-only "$build/libvqz.a" 2>/dev/null | awk '{ print $NF }' |
    grep -Ev '^vqzi?_|^__(asan|odr_asan|ubsan|tsan)' || true)
if [ -n "$clash" ]; then
    echo "global in libvqz.a without the prefix vqz_ or vqzi_:" $clash
    exit 1
fi
