#!/bin/sh
# bench_codec runs on two tiny pictures and writes what it promises; no time is judged.
set -eu
bench=${VQZ_BUILD:-build}/tests/bench/bench_codec
folder=$(mktemp -d "${TMPDIR:-/tmp}/vqz-test-bench.XXXXXX")
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/pictures" "$folder/tmp" "$folder/empty"
{ printf 'P5\n20 30\n255\n'; seq 1000 | head -c 600; } >"$folder/pictures/a.pgm"
{ printf 'P6\n17 9\n255\n'; seq 1000 | head -c 459; } >"$folder/pictures/b.ppm"

fail() {
    echo "$1"
    [ ! -f "$folder/said" ] || cat "$folder/said"
    exit 1
}

# Peers are out of the path: each is named, and left out.
code=0
VQZ=${VQZ:-./vqz} TMPDIR=$folder/tmp PATH=$folder/empty "$bench" -n 2 -s 0.001 -o "$folder/out" \
    samples/default.vqm "$folder/pictures" >"$folder/said" 2>&1 || code=$?
[ $code -eq 0 ] || fail "exit code $code"
cmp -s "$folder/said" "$folder/out/bench.md" || fail "bench.md is not what was said"
for peer in cwebp avifenc cjxl; do
    grep -q "left out: $peer is not installed" "$folder/said" || fail "$peer is not named"
done
[ -z "$(ls "$folder/tmp")" ] || fail "left behind: $(ls "$folder/tmp")"

# A head, then rows of as many fields whose counts and seconds are numbers above zero.
awk -F, 'NR == 1 { fields = NF; if ($1 != "table" || $9 != "seconds") exit 1; next }
    NF != fields || $7 < 1 || $8 < 1 || !($9 > 0) || !($10 > 0) || $10 > $9 || !($13 > 0) {
        print "bad row: " $0
        exit 1
    }
    { rows[$1 "/" $2]++ }
    END {
        if (rows["library/pictures"] < 2 || rows["library/large"] < 2) exit 1
        if (rows["program/pictures"] < 3 || rows["program/large"] < 3) exit 1
        if (rows["start-up/8x8"] != 2) exit 1
    }' "$folder/out/bench.csv" || fail "bench.csv: $(cat "$folder/out/bench.csv")"

# A program that fails ends the run with its name, and leaves nothing.
printf '#!/bin/sh\n[ "$1" = --version ] && echo 0 || { echo broken >&2; exit 3; }\n' >"$folder/bad"
chmod +x "$folder/bad"
code=0
VQZ=$folder/bad TMPDIR=$folder/tmp "$bench" -n 1 -s 0 -o "$folder/out" samples/default.vqm \
    "$folder/pictures" >"$folder/said" 2>&1 || code=$?
[ $code -eq 1 ] && grep -q "/bad compress .*: broken" "$folder/said" || fail "exit code $code"
[ -z "$(ls "$folder/tmp")" ] || fail "left behind: $(ls "$folder/tmp")"
