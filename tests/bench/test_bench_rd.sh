#!/bin/sh
# bench_rd with stand-ins for the other programs: what it writes, what it remembers, what it refuses.
set -eu
bench=$(realpath "${VQZ_BUILD:-build}/tests/bench/bench_rd")
folder=$(mktemp -d "${TMPDIR:-/tmp}/vqz-test-rd.XXXXXX")
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/pictures" "$folder/tmp" "$folder/bin" "$folder/empty"
{ printf 'P5\n20 30\n255\n'; seq 1000 | head -c 600; } >"$folder/pictures/a.pgm"
{ printf 'P6\n40 24\n255\n'; seq 3000 | head -c 2880; } >"$folder/pictures/b.ppm"
export TMPDIR="$folder/tmp"

fail() {
    echo "$1"
    [ ! -f "$folder/said" ] || cat "$folder/said"
    exit 1
}

# run CODE OPTION...: the benchmark with only the stand-ins in its path.
run() {
    wanted=$1 code=0
    shift
    PATH=${path:-$folder/bin} "$bench" -c "$folder/cache" -o "$folder/out/rd" "$@" \
        "$folder/pictures" >"$folder/said" 2>"$folder/errors" || code=$?
    [ $code -eq "$wanted" ] || fail "exit code $code: $(cat "$folder/errors")"
    [ -z "$(ls "$folder/tmp")" ] || fail "left behind: $(ls "$folder/tmp")"
}

# A JPEG that is the picture with its last 105 - quality samples black, and zeros behind it, more of them
# for higher qualities; the progressive one is larger for odd qualities, smaller for even ones.
cat >"$folder/bin/cjpeg" <<'EOF'
#!/bin/sh
PATH=/usr/bin:/bin
[ "$1" != -version ] || { echo "stand-in 1 (of no account)"; exit 0; }
echo "$*" >>"${0%/*}/../calls"
quality=$2
for input; do :; done
while [ "$1" != -outfile ]; do last=$1; shift; done
size=$(stat -c %s "$input")
{
    head -c $((size - 105 + quality)) "$input"
    head -c $((105 - quality)) /dev/zero
    head -c $((quality * 20 + (quality % 2 ? 5 : -5) * (${#last} > 10))) /dev/zero
} >"$2"
EOF
cat >"$folder/bin/djpeg" <<'EOF'
#!/bin/sh
PATH=/usr/bin:/bin
cp "$3" "$2"
EOF
chmod +x "$folder/bin/cjpeg" "$folder/bin/djpeg"

run 0 -m samples/default.vqm -q 1,50,100 -j 2
cmp -s "$folder/said" "$folder/out/rd.md" || fail "rd.md is not what was said"
grep -q "JPEG: cjpeg .*; stand-in 1$" "$folder/said" || fail "the version is not named"
grep -q "WebP is left out: cwebp is not installed" "$folder/said" || fail "cwebp is not named"
grep -q "^| JPEG | [-+][0-9.]* % | .* dB |\$\|^| JPEG | – | nothing" "$folder/said" || fail "no BD-rate"
grep -q "^| middle | 50 |" "$folder/said" || fail "no middle rate"
grep -q "results .*: 24 measured, 0 remembered" "$folder/errors" || fail "$(cat "$folder/errors")"
[ "$(wc -l <"$folder/calls")" -eq 48 ] || fail "cjpeg was called $(wc -l <"$folder/calls") times"
[ "$(grep -c '<circle' "$folder/out/rd.svg")" -eq 15 ] || fail "not a dot for every setting"
tail -n 1 "$folder/out/rd.svg" | grep -qx '</svg>' || fail "rd.svg is cut off"
! grep -q 'nan\|inf' "$folder/out/rd.svg" || fail "rd.svg has points nowhere"

# A row for every codec, setting and picture, of which the smaller of the two JPEG files counts; means
# are theirs.
awk -F, '
    NR == 1 { fields = NF; next }
    NF != fields || !($6 > 0) || !($8 > 0) || !($9 >= 0 && $9 <= 1) { print "bad row: " $0; exit 1 }
    { rows[$1]++; bpp = 8 * $6 / ($4 * $5); if (bpp - $7 > 1e-5 || $7 - bpp > 1e-5) exit 1 }
    $1 == "jpeg" && $2 == 3 && $3 == "\"b.ppm\"" && $6 != 2893 + 60 { print "odd: " $0; exit 1 }
    $1 == "jpeg" && $2 == 6 && $3 == "\"b.ppm\"" && $6 != 2893 + 115 { print "even: " $0; exit 1 }
    END { exit !(rows["vqz"] == 6 && rows["jpeg"] == 24) }
' "$folder/out/rd.csv" || fail "rd.csv: $(cat "$folder/out/rd.csv")"

# The same again is remembered, without a model too; a changed picture is not.
cp "$folder/out/rd.csv" "$folder/first.csv"
run 0 -p jpeg
grep -q "results .*: 0 measured, 24 remembered" "$folder/errors" || fail "$(cat "$folder/errors")"
grep -v '^vqz' "$folder/first.csv" | cmp -s - "$folder/out/rd.csv" || fail "remembered otherwise"
printf '\377' | dd of="$folder/pictures/a.pgm" bs=1 seek=100 conv=notrunc 2>/dev/null
run 0 -p jpeg
grep -q "results .*: 12 measured, 12 remembered" "$folder/errors" || fail "$(cat "$folder/errors")"
# So is another version.
sed -i 's/stand-in 1/stand-in 2/' "$folder/bin/cjpeg"
run 0 -p jpeg -n 1
grep -q "results .*: 12 measured, 0 remembered" "$folder/errors" || fail "$(cat "$folder/errors")"

# Pictures keep their alpha: the peers are asked to lose as much of it, those that have none are named.
cat >"$folder/bin/cwebp" <<'EOF'
#!/bin/sh
PATH=/usr/bin:/bin
[ "$1" != -version ] || { echo 1; exit 0; }
[ "$4 $6" = "-q -alpha_q" ] && [ "$5" = "$7" ] && cp "$8" "${10}"
EOF
cat >"$folder/bin/dwebp" <<'EOF'
#!/bin/sh
PATH=/usr/bin:/bin
[ "$2" = -pam ] && cp "$3" "$5"
EOF
chmod +x "$folder/bin/cwebp" "$folder/bin/dwebp"
{ printf 'P7\nWIDTH 20\nHEIGHT 10\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n'
    seq 3000 | head -c 800; } >"$folder/pictures/c.pam"
run 0 -m samples/default.vqm -q 50 -a
grep -q "alpha kept, compared on white" "$folder/said" || fail "alpha is not named"
grep -q "JPEG is left out: it has no alpha" "$folder/said" || fail "JPEG is not named"
grep -q "WebP: cwebp .*, and the same for alpha; 1$" "$folder/said" || fail "WebP's alpha is not named"
awk -F, '$1 == "webp" { rows++; if ($8 != 100) exit 1 } END { exit rows != 36 }' "$folder/out/rd.csv" ||
    fail "rd.csv: $(cat "$folder/out/rd.csv")"
rm "$folder/pictures/c.pam" "$folder/bin/cwebp" "$folder/bin/dwebp"

# vqz alone; then what cannot be.
path=$folder/empty run 0 -m samples/default.vqm -q 1 -r 0.1:0.9
path=$folder/empty run 1
grep -q "nothing to measure" "$folder/errors" || fail "$(cat "$folder/errors")"
run 1 -r 0.9:0.1
run 1 -p jpg
grep -q "no peer is called jpg" "$folder/errors" || fail "$(cat "$folder/errors")"
run 1 -m samples/default.vqm -q 10,x
printf '#!/bin/sh\necho broken >&2\nexit 3\n' >"$folder/bin/djpeg"
rm -r "$folder/cache"
run 1 -p jpeg
grep -q "djpeg .*: failed with status [0-9]*: broken" "$folder/errors" || fail "$(cat "$folder/errors")"
[ -z "$(ls "$folder/cache")" ] || fail "a failure was remembered"
