#!/bin/sh
# A standard stream that is closed when the program starts: nothing it says ends up in a file it
# writes, and data for the stream are lost with an error, never in silence.
set -eu
vqz=${VQZ:-./vqz}
case $vqz in
/*) ;;
*) vqz=$PWD/$vqz ;;
esac
folder=$(mktemp -d "${TMPDIR:-/tmp}/vqz-closed.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir corpus
{ printf 'P5\n32 32\n255\n'; seq 1000 | head -c 1024; } >corpus/a.pgm

fail() {
    echo "$1"
    exit 1
}

# The training log is open while the trainer reports: it must get the next free number, not 2.
"$vqz" train corpus -o m.vqm --preset classic --codes 4 --latent-channels 4 --steps 1 --batch 1 \
    --crop 16 -T1 -v 2>&- || fail "training fails without standard error"
sed 1d m.vqm.csv | grep -v '^[0-9]*,' && fail "messages in the training log"
[ "$(wc -l <m.vqm.csv)" -ge 2 ] || fail "no training log"

"$vqz" compress -m m.vqm -v corpus/a.pgm -o a.vqz <&- >&- 2>&- || fail "compress needs a stream"
"$vqz" decompress -m m.vqm a.vqz -o a.png <&- >&- 2>&- || fail "decompress needs a stream"
for command in "compress -m m.vqm -o - corpus/a.pgm" "decompress -m m.vqm -o - a.vqz" "info a.vqz" \
    "eval -m m.vqm corpus/a.pgm" "eval -m m.vqm --csv - corpus/a.pgm" "--help" "--version"; do
    code=0
    "$vqz" $command >&- 2>error || code=$?
    [ $code -eq 1 ] || fail "vqz $command >&-: exit code $code"
    grep -q '^vqz: standard output: cannot write' error || fail "vqz $command >&-: $(cat error)"
done
code=0
"$vqz" compress -m m.vqm -o b.vqz - <&- 2>error || code=$?
[ $code -eq 1 ] && [ ! -e b.vqz ] || fail "a closed standard input was read"
grep -q '^vqz: standard input: cannot read' error || fail "closed standard input: $(cat error)"
