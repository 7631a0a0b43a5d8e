#!/bin/sh
# check_valgrind.sh BUILD - memcheck over the fuzz targets' seeds and a small run of the program;
# `make check-valgrind` calls it.  An error or a leak fails.
set -eu
build=$(cd "$1" && pwd)
here=$(pwd)
command -v valgrind >/dev/null || { echo "check-valgrind: apt-get install valgrind"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# One thread: memcheck runs one at a time anyway, and OpenMP's keep memory until the program ends.
export OMP_NUM_THREADS=1

check() {
    echo "valgrind ${1##*/} ${2:-} ..."
    valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
        --errors-for-leak-kinds=definite,indirect "$@" >"$work/log" 2>&1 || {
        cat "$work/log"
        exit 1
    }
}

for target in decode model picture; do
    check "$build/tests/fuzz/replay_$target" tests/fuzz/corpus/$target/*
done
check "$build/tests/fuzz/replay_roundtrip" tests/fuzz/corpus/roundtrip/good-[1-4] # models take long to make
cp tests/fuzz/corpus/picture/good-3.png tests/fuzz/corpus/picture/good-4.jpg "$work"
cp tests/fuzz/corpus/model/good-1.vqm "$work/prior.vqm"
cd "$work"
for effort in 1 6 9; do
    check "$build/vqz" compress -T 1 -f -m prior.vqm --effort $effort good-3.png good-4.jpg
done
check "$build/vqz" compress -T 1 -f -m prior.vqm --progressive -o scans.vqz good-3.png
check "$build/vqz" info good-3.vqz prior.vqm
check "$build/vqz" decompress -T 1 -f -m prior.vqm good-3.vqz scans.vqz
check "$build/vqz" decompress -T 1 -m prior.vqm --crop 4x3+1+2 -o crop.png good-3.vqz
head -c $(($(wc -c <scans.vqz) - 6)) scans.vqz >cut.vqz
check "$build/vqz" decompress -T 1 -m prior.vqm --partial -o cut.png cut.vqz
check "$build/vqz" tokens -T 1 -m prior.vqm -o tokens.npy good-3.vqz
cd "$here"
echo "no errors, no leaks"
