#!/bin/sh
# demo.sh PROGRAM OUT - compresses samples/pictures with the built-in model at several qualities,
# brings them back, and measures; `make demo` calls it.
set -eu
program=$1
out=$2
qualities="15 40 65 90"

mkdir -p "$out"
set -- samples/pictures/*.png
[ -f "$1" ] || { echo "demo: no pictures in samples/pictures; run this from the project's folder" >&2; exit 1; }
for picture in "$@"; do
    name=$(basename "$picture" .png)
    for q in $qualities; do
        "$program" compress --quiet -f -q "$q" -o "$out/$name-q$q.vqz" "$picture"
        "$program" decompress --quiet -f -o "$out/$name-q$q.png" "$out/$name-q$q.vqz"
    done
done
"$program" eval --quiet -q "$(echo "$qualities" | tr ' ' ,)" "$@"
echo
echo "Compressed files (.vqz) and what they decode to (.png) are in $out/, the originals in samples/pictures/."
