#!/bin/sh
# Files and models of every version that was released give the pixels, codes and metadata that they gave
# when they were made; see README.md here.  `test_compatibility.sh --print` prints what they give now, for
# lines to be added: lines that are there are never changed, and files are never removed.
set -eu
vqz=${VQZ:-./vqz}
case $vqz in
/*) ;;
*) vqz=$PWD/$vqz ;;
esac
print=${1:-}
cd "$(dirname "$0")"
work=$(mktemp -d "${TMPDIR:-/tmp}/vqz-compatibility.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The model is found by its hash, beside the file.
sha() {
    sha256sum <"$work/out" | cut -d ' ' -f 1
}
for file in v*/*.vqz; do
    "$vqz" decompress --format pnm -o - "$file" >"$work/out"
    pixels=$(sha)
    "$vqz" tokens -o - "$file" >"$work/out"
    codes=$(sha)
    facts=$("$vqz" info --json "$file" | sed 's/.*"quality": \([0-9]*\),.*"icc_bytes": \([0-9]*\), "exif_bytes": \([0-9]*\),.*/\1 \2 \3/')
    echo "$file $facts $pixels $codes"
done >"$work/now"
if [ "$print" = --print ]; then
    cat "$work/now"
    exit
fi
grep -v '^#' expected.txt | sort >"$work/expected"
sort "$work/now" | diff "$work/expected" - || {
    echo "expected.txt (<) and what this program gives (>) differ"
    exit 1
}
[ "$(wc -l <"$work/now")" -ge 16 ] || { echo "files were removed"; exit 1; }
"$vqz" test -q -r v1 v2
