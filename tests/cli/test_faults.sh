#!/bin/sh
# When a disk is full, a limit reached, a folder read-only, a file gone, a reader gone or a signal comes:
# one line that says so, the right exit code, what was there is still there and nothing beside it.
# What needs rights that this user lacks is left out, and said.
set -eu
vqz=${VQZ:-./vqz}
work=$(mktemp -d "${TMPDIR:-/tmp}/vqz-faults.XXXXXX")
mounted=
trap '[ -z "$mounted" ] || umount "$work/small"; chmod -R u+w "$work"; rm -rf "$work"' EXIT
cp "$vqz" "$work/vqz" # where every user can run it
cp tests/compatibility/v1/model.vqm "$work"
cd "$work"
chmod 755 . vqz

fail() {
    echo "$1"
    exit 1
}

# check NAME CODE PATTERN: what `code` and the file `error` say about a run, and what is in the folder `out`.
check() {
    [ "$code" -eq "$2" ] || fail "$1: exit code $code, not $2: $(cat error)"
    [ "$(wc -l <error)" -eq 1 ] || fail "$1: not one line: $(cat error)"
    grep -q "$3" error || fail "$1: $(cat error)"
    [ "$(ls -A "${4:-out}")" = kept.png ] || fail "$1: left in the folder: $(ls -A "${4:-out}")"
    [ "$(cat "${4:-out}/kept.png")" = precious ] || fail "$1: the old file has changed"
}

mkdir out
echo precious >out/kept.png
{ printf 'P6\n300 200\n255\n'; seq 40000 | head -c 180000; } >large.ppm
{ printf 'P5\n32 32\n255\n'; seq 1000 | head -c 1024; } >small.pgm
./vqz compress -q 100 -m model.vqm large.ppm
./vqz compress -m model.vqm small.pgm

# A limit on file sizes: SIGXFSZ must not end the program, and half a file must not stay.
for target in "-o out/new.png" "-f -o out/kept.png"; do
    code=0
    # shellcheck disable=SC2086 # an option and a name
    (ulimit -f 8 && exec ./vqz decompress -m model.vqm large.vqz $target) 2>error || code=$?
    check "file size limit, $target" 1 'cannot write: File too large; raise the limit'
done
code=0
(ulimit -f 1 && exec ./vqz tokens -m model.vqm large.vqz -o out/new.npy) 2>error || code=$?
check "file size limit, tokens" 1 'cannot write: File too large'

# A full disk.
mkdir small
if mount -t tmpfs -o size=16k none small 2>/dev/null; then
    mounted=1
    echo precious >small/kept.png
    for target in "-o small/new.png" "-f -o small/kept.png"; do
        code=0
        # shellcheck disable=SC2086
        ./vqz decompress -m model.vqm large.vqz $target 2>error || code=$?
        check "full disk, $target" 1 'cannot write: No space left on device; free some space' small
    done
    head -c 60000 /dev/zero 2>/dev/null >small/filler || true
    code=0
    ./vqz compress -m model.vqm -q 100 large.ppm -o small/new.vqz 2>error || code=$?
    rm small/filler
    check "full disk, compress" 1 'cannot write: No space left on device; free some space' small
    umount small
    mounted=
else
    echo "left out: a full disk (mounting is not allowed)"
fi
for command in "decompress -m model.vqm large.vqz -o -" "decompress -m model.vqm small.vqz -o -" \
    "compress -m model.vqm small.pgm -o -" "tokens -m model.vqm small.vqz -o -" \
    "test -m model.vqm small.vqz" "info small.vqz" "eval -m model.vqm small.pgm"; do
    code=0
    # shellcheck disable=SC2086
    ./vqz $command >/dev/full 2>error || code=$?
    check "$command >/dev/full" 1 '^vqz: standard output: cannot write: '
done

# A folder that cannot be written, a file that cannot be read.  Root may do both, and becomes nobody.
chmod 555 out
cp small.pgm secret.pgm
chmod 000 secret.pgm
as_user=
if [ "$(id -u)" -eq 0 ]; then
    as_user="setpriv --reuid 65534 --regid 65534 --clear-groups"
fi
# shellcheck disable=SC2086
if $as_user true 2>/dev/null; then
    for target in "-o out/new.png" "-f -o out/kept.png"; do
        code=0
        $as_user ./vqz decompress -m model.vqm small.vqz $target 2>error || code=$?
        check "read-only folder, $target" 1 'cannot write: Permission denied; check the permissions'
    done
    code=0
    $as_user ./vqz compress -m model.vqm secret.pgm -o out/new.vqz 2>error || code=$?
    check "unreadable file" 1 'secret.pgm: cannot open: Permission denied; check the permissions'
else
    echo "left out: folders and files of others (setpriv cannot drop the rights of root)"
fi
chmod 755 out

# A file that goes between listing and opening: the first one is a pipe, which holds the program up.
mkfifo pipe.pgm
cp small.pgm gone.pgm
./vqz compress -T1 -m model.vqm pipe.pgm gone.pgm 2>error &
program=$!
exec 3>pipe.pgm # waits until the program has opened it
rm gone.pgm
cat small.pgm >&3
exec 3>&-
code=0
wait $program || code=$?
if [ $code -ne 1 ] || [ ! -f pipe.vqz ] || [ -e gone.vqz ]; then
    fail "a file that is gone: exit code $code"
fi
[ "$(cat error)" = 'vqz: gone.pgm: cannot open: No such file or directory; check the path
vqz: 1 of 2 failed' ] || fail "a file that is gone: $(cat error)"

# Signals: the program ends as they say, without a word.  (A shell starts what is in the background with
# SIGINT ignored, which stays so.)
for signal in INT TERM HUP; do
    env --default-signal=INT ./vqz compress -T1 -m model.vqm pipe.pgm -o out/new.vqz 2>error &
    program=$!
    exec 3>pipe.pgm
    kill -s $signal $program
    code=0
    wait $program || code=$?
    exec 3>&-
    [ "$(kill -l $code)" = $signal ] || fail "SIG$signal: exit code $code"
    echo "nothing said" >>error
    check "SIG$signal" $code '^nothing said$'
done

# A reader that goes: writing fails like any other.
{ code=0; ./vqz decompress -m model.vqm large.vqz --format pnm -o - 2>error || code=$?; echo $code >code; } |
    head -c 1 >/dev/null
code=$(cat code)
check "closed pipe" 1 'standard output: cannot write: Broken pipe'
