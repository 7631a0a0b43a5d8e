#!/bin/sh
# machines.sh deps|check BUILD MACHINE... - the same bytes and pixels on other machines.
#
# deps   installs cross compilers and qemu with apt-get (as root or through sudo), and brings the
#        libraries of each machine into BUILD/MACHINE/root, not into the system: foreign packages
#        there would tie the versions of its own.  `make deps-machines`.
# check  cross-compiles library and program, runs TESTS under qemu, and compares the files and pixels
#        of encodes.c, and files of the program, with those of NATIVE, a folder with a build for this
#        machine.  A machine whose compiler, qemu or libraries are missing is skipped, and says so.
#        `make check-machines`.
#
# Debian 12 has no packages for riscv64: zstd is built from its source; the program and the tests, which
# need more, are left out.
set -eu
mode=$1 build=$2
shift 2
here=$(dirname "$0")
suite=bookworm
mirror=${MIRROR:-http://deb.debian.org/debian}
LIBRARIES='libzstd-dev libcmocka-dev libcmocka0 libpng-dev zlib1g-dev libjpeg62-turbo-dev'
failed=0
export OMP_WAIT_POLICY=passive # two threads on a busy machine would wait for each other for minutes

# describe MACHINE: Debian's name of it, the compiler's, and where things are.
describe() {
    machine=$1 debian=$1 triplet=$1-linux-gnu isa=
    case $machine in
    aarch64) debian=arm64 isa=32:neon ;;
    i386) triplet=i686-linux-gnu ;;
    s390x | riscv64) ;;
    *)
        echo "machines: '$machine' is none of aarch64, s390x, riscv64, i386" >&2
        exit 2
        ;;
    esac
    mkdir -p "$build/$machine"
    folder=$(cd "$build/$machine" && pwd)
    root=$folder/root
    libraries=$root/usr/lib/$machine-linux-gnu
    emulate="qemu-$machine -L /usr/$triplet"
    # x86-64 runs i386 itself; qemu-i386 7.2 stops for ever where two threads meet
    [ "$machine" != i386 ] ||
        emulate="/usr/$triplet/lib/ld-linux.so.2 --library-path /usr/$triplet/lib"
}

# ---- deps ----

# apt ARGUMENT...: apt-get for the machine alone, with lists and archives of its own.
apt() {
    apt-get -qq -o APT::Architecture="$debian" -o APT::Architectures="$debian" \
        -o APT::Sandbox::User= -o Acquire::Languages=none -o Acquire::Retries=2 \
        -o Dir::Etc::sourcelist="$folder/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State="$folder/apt" -o Dir::State::status="$folder/apt/status" \
        -o Dir::Cache="$folder/apt" "$@"
}

build_zstd() {
    mkdir -p zstd "$libraries" "$root/usr/include"
    tar xf libzstd_*.orig.tar.*z --strip-components=1 -C zstd
    MAKEFLAGS='' make -s -C zstd/lib CC="$triplet-gcc" AR="$triplet-ar" ZSTD_LEGACY_SUPPORT=0 \
        libzstd.a
    cp zstd/lib/libzstd.a "$libraries"
    cp zstd/lib/*.h "$root/usr/include"
}

# Brings what the compiler's own packages lack.
fetch_libraries() (
    rm -rf "$root" "$folder/apt"
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial" "$root"
    : >"$folder/apt/status"
    kind=deb
    [ "$machine" = riscv64 ] && kind=deb-src
    echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
        >"$folder/apt/sources.list"
    cd "$folder/apt/archives"
    apt update
    # shellcheck disable=SC2086 # lists
    if [ $kind = deb ]; then
        apt download $LIBRARIES
        for package in ./*.deb; do
            dpkg-deb -x "$package" "$root"
        done
    else
        apt source --download-only libzstd
        build_zstd
    fi
    rm -rf "$folder/apt"
    touch "$root/complete"
)

deps() {
    packages=qemu-user
    for name in "$@"; do
        describe "$name"
        packages="$packages gcc-$triplet libc6-dev-$debian-cross"
    done
    # shellcheck disable=SC2086 # a list
    NAMES='gcc for the other machines and qemu-user' HEADERS='' "$here/../support/deps.sh" $packages
    for name in "$@"; do
        describe "$name"
        [ -e "$root/complete" ] && continue
        echo "make deps-machines: bringing the libraries of $machine to $root"
        # in a process of its own, or || would turn set -e off
        "$0" libraries "$build" "$machine" || {
            echo "make deps-machines: those of $machine cannot be had from $mirror; MIRROR= names another" >&2
            failed=1
        }
    done
    exit $failed
}

# ---- check ----

table=$build/table

# note MACHINE WHAT COUNT RESULT: a line of the table at the end.
note() {
    printf '%-10s %-38s %5s  %s\n' "$@" >>"$table"
    case $4 in
    FAILED*) failed=1 ;;
    esac
}

# encodes NAME RUNNER FOLDER CPU:ISA THREADS: prints what must be the same, and compares it.
encodes() {
    what="encodes, ${4#*:}, $5 thread(s)"
    output=$build/encodes.$1.${4#*:}.$5
    code=0
    # shellcheck disable=SC2086 # a command and its options
    $2 "$3/tests/machines/encodes" "${4%%:*}" "$5" >"$output" || code=$?
    count=$(wc -l <"$output")
    if [ $code -eq 3 ]; then
        note "$1" "$what" - "not run: the processor has not these instructions"
    elif [ $code -ne 0 ]; then
        note "$1" "$what" "$count" "FAILED: ended with $code"
    elif ! [ -e "$build/expected" ]; then
        cp "$output" "$build/expected"
        note "$1" "$what" "$count" "the others are compared with these"
    elif cmp -s "$build/expected" "$output"; then
        note "$1" "$what" "$count" same
    else
        note "$1" "$what" "$count" "FAILED: differs"
        diff "$build/expected" "$output" | head -n 4
    fi
}

# Pictures for the program: one that it draws, and 16-bit gray and RGBA noise.
draw_pictures() {
    [ -e "$build/pictures" ] && return
    mkdir "$build/pictures.new"
    "$NATIVE/vqz" sample --quiet -n 1 --size 61x47 -o "$build/pictures.new/rgb.png"
    {
        printf 'P5\n30 20\n65535\n'
        head -c 1200 "$build/pictures.new/rgb.png"
    } >"$build/pictures.new/gray.pgm"
    {
        printf 'P7\nWIDTH 25\nHEIGHT 11\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n'
        head -c 1100 "$build/pictures.new/rgb.png"
    } >"$build/pictures.new/alpha.pam"
    mv "$build/pictures.new" "$build/pictures"
}

# program RUNNER PROGRAM FOLDER: files that the program makes of the pictures.
program() {
    rm -rf "$3"
    mkdir -p "$3"
    # shellcheck disable=SC2086 # a command and its options
    $1 "$2" compress --quiet -T 2 -o "$3" "$build"/pictures/* &&
        $1 "$2" compress --quiet --target-size 300 -o "$3/target.vqz" "$build/pictures/rgb.png" &&
        $1 "$2" decompress -q --format pam -o "$3" "$3"/*.vqz &&
        $1 "$2" tokens -q -o "$3" "$3"/*.vqz &&
        $1 "$2" info --json - <"$3/alpha.vqz" >"$3/alpha.json"
}

check_program() {
    make_for "$folder/vqz"
    # shellcheck disable=SC2012 # names of our own
    count=$(ls "$build/files.native" | wc -l)
    if program "$emulate" "$folder/vqz" "$build/files.$machine" &&
        diff -r "$build/files.native" "$build/files.$machine"; then
        note "$machine" "files of the program" "$count" same
    else
        note "$machine" "files of the program" "$count" "FAILED: differ"
    fi
}

make_for() {
    # shellcheck disable=SC2086 # a command and its options
    ${MAKE:-make} -s CC="$triplet-gcc" BUILD="$folder" TRAINER= \
        CFLAGS="-O2 -isystem $root/usr/include -isystem $root/usr/include/$machine-linux-gnu" \
        LDFLAGS="-L$libraries -Wl,-rpath,$libraries" CLI_LIBS='-lpng -ljpeg -lz -lzstd -lm' "$@"
}

# Tests of the machine, through run.sh; the program they may start is run by qemu too.
check_tests() {
    programs='' wrappers=''
    for test in $TESTS; do
        programs="$programs $folder/tests/$test"
        wrappers="$wrappers $folder/run/tests/$test"
        mkdir -p "$(dirname "$folder/run/tests/$test")"
        printf '#!/bin/sh\nexec %s %s "$@"\n' "$emulate" "$folder/tests/$test" \
            >"$folder/run/tests/$test"
        chmod +x "$folder/run/tests/$test"
    done
    # shellcheck disable=SC2086 # lists
    make_for $programs
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$emulate" "$folder/vqz" >"$folder/run/vqz"
    chmod +x "$folder/run/vqz"
    # shellcheck disable=SC2086 # a list
    VQZ=$folder/run/vqz "$here/../support/run.sh" '' $wrappers >"$folder/log" || failed=1
    cat "$folder/log"
    for test in $TESTS; do
        count=$(sed -n "s,.*  $test (\([0-9]*\).*,\1,p" "$folder/log")
        if grep -q "^ok .* $test " "$folder/log"; then
            note "$machine" "$test" "$count" passed
        else
            note "$machine" "$test" "$count" FAILED
        fi
    done
}

check_machine() {
    describe "$1"
    for tool in "$triplet-gcc" "${emulate%% *}"; do
        command -v "$tool" >/dev/null || {
            note "$machine" everything - "skipped: no $tool; make deps-machines installs it"
            return
        }
    done
    [ -e "$root/complete" ] || {
        note "$machine" everything - "skipped: no libraries; make deps-machines brings them"
        return
    }
    echo "$machine: building and running"
    make_for "$folder/tests/machines/encodes"
    encodes "$machine" "$emulate" "$folder" 1:scalar 1
    if [ -n "$isa" ]; then
        encodes "$machine" "$emulate" "$folder" "$isa" 1
        encodes "$machine" "$emulate" "$folder" "$isa" 2
    else
        encodes "$machine" "$emulate" "$folder" 1:scalar 2
    fi
    if [ -e "$root/usr/include/png.h" ]; then
        check_program
        check_tests
    else
        note "$machine" "program and tests" - "not run: no libpng, libjpeg and cmocka"
    fi
}

check_native() {
    rm -f "$build/expected"
    encodes native '' "$NATIVE" 1:scalar 1
    encodes native '' "$NATIVE" 1:scalar 2
    for set in 2:avx2 3:avxvnni 4:avx512 5:avx512vnni; do
        encodes native '' "$NATIVE" $set 1
        encodes native '' "$NATIVE" $set 2
    done
    draw_pictures
    program '' "$NATIVE/vqz" "$build/files.native"
}

case $mode in
deps) deps "$@" ;;
libraries)
    describe "$1"
    fetch_libraries
    ;;
check)
    mkdir -p "$build"
    : >"$table"
    check_native
    for name in "$@"; do
        check_machine "$name"
    done
    printf '\n%-10s %-38s %5s  %s\n' machine what count result
    cat "$table"
    exit $failed
    ;;
esac
