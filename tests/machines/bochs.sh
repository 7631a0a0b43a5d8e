#!/bin/sh
# bochs.sh deps|check BUILD - the same bytes and pixels on x86 processors that this one is not.
#
# deps   installs Bochs and what a CD to boot from is made with (as root or through sudo), and brings
#        Debian's kernel into BUILD, not into the system.  `make deps-avx512`.
# check  boots Linux in Bochs once for each instruction set, on a processor whose best one it is, and
#        compares what guest.sh prints there with what it prints here without vectors.  The programs
#        are those of BUILD.  `make check-avx512`.
#
# Environment: BOCHS, another one than the installed; SETS, some of the instruction sets below; PART,
# one of so many cases of test_kernels (4; 1: all); LIMIT, seconds for each processor (3600).
set -eu
mode=$1 build=$2
here=$(dirname "$0")
BOCHS=${BOCHS:-bochs}
SETS=${SETS:-avx512 avx512vnni avxvnni}
LIMIT=${LIMIT:-3600}
export PART="${PART:-4}"
packages='bochs bochs-term bochsbios vgabios busybox-static isolinux syslinux-common xorriso'
kernel=linux-image-cloud-amd64 # of Debian's the quickest to boot: few drivers, unpacked by lz4

# ---- deps ----

deps() {
    # shellcheck disable=SC2086 # a list
    NAMES='Bochs, busybox, isolinux and xorriso' HEADERS='' \
        "$here/../support/deps.sh" $packages
    [ -e "$build/linux" ] && return
    mkdir -p "$build"
    cd "$build"
    rm -f ./linux-image-*.deb
    package=$(apt-cache depends $kernel | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p')
    echo "make deps-avx512: bringing ${package:=$kernel} to $build"
    apt-get -qq -o APT::Sandbox::User= download "$package" || {
        echo "make deps-avx512: it cannot be had; an apt-get update may be missing" >&2
        exit 1
    }
    dpkg-deb --fsys-tarfile ./linux-image-*.deb | tar xO --wildcards './boot/vmlinuz-*' >linux.new
    mv linux.new linux
    rm ./linux-image-*.deb
}

# ---- check ----

# What the guest has: a shell, the programs, and the libraries that they need.
make_root() {
    rm -rf root
    mkdir -p root/bin root/lib root/lib64 root/proc root/dev root/tmp
    cp "$(command -v busybox)" root/bin
    ln -s busybox root/bin/sh
    cp vqz tests/kernels/test_kernels tests/machines/encodes "$guest" root/bin
    ldd root/bin/vqz root/bin/test_kernels | sed -n 's,.* => \(/.*\) (.*,\1,p' | sort -u |
        xargs cp -L -t root/lib
    cp -L /lib64/ld-linux-x86-64.so.2 root/lib64
    root/bin/vqz sample --quiet -n 1 --size 96x64 -o root/picture.png
}

# make_disk CPU SET: a CD that boots into guest.sh.  Its lines are marked: the console has others.
make_disk() {
    cat >root/init <<END
#!/bin/sh
export PATH=/bin LD_LIBRARY_PATH=/lib PART=$PART
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
busybox grep -m 1 '^model name' /proc/cpuinfo
guest.sh $1 $2 | busybox sed 's/^/= /'
busybox poweroff -f
END
    chmod +x root/init
    rm -rf disk
    mkdir disk
    (cd root && find . | busybox cpio -o -H newc >../disk/initrd 2>/dev/null)
    cp linux /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 disk
    # Linux switches AVX off altogether where the sizes of XSAVE's areas do not add up, and Bochs 2.7
    # tells wrong ones of the compacted form and of PKRU.  With the other features tigerlake and
    # arrow_lake stopped early on.
    cat >disk/isolinux.cfg <<END
DEFAULT linux
LABEL linux
KERNEL linux
INITRD initrd
APPEND quiet loglevel=1 console=ttyS0,115200 panic=-1 nosmp mitigations=off init_on_alloc=0 tsc=reliable ibt=off clearcpuid=xsavec,xsaves,pku,umip,erms,fsrm
END
    xorriso -as mkisofs -quiet -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table -o disk.iso disk 2>xorriso.log
}

# run_guest PROCESSOR SET: boots it; console.SET gets its console and result.SET what guest.sh printed.
# Without a sound card Bochs 2.7 crashes unless it is told of none; 3.0 has no default VGA BIOS.  The
# command is for Bochs' debugger, which Debian has built in.
run_guest() {
    cat >bochsrc <<END
display_library: term
sound: waveoutdrv=dummy
vgaromimage: file=\$BXSHARE/VGABIOS-lgpl-latest
megs: 256
cpu: model=$1, ips=100000000
clock: sync=none
ata0-master: type=cdrom, path=disk.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=console.$2
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
    echo continue >commands
    true >"console.$2"
    true >bochs.log
    TERM=vt100 timeout --foreground -s KILL "$LIMIT" "$BOCHS" -q -f bochsrc -rc commands \
        </dev/null >screen 2>&1 || [ $? -ne 137 ] || echo "$2: stopped after $LIMIT seconds"
    tr -d '\r' <"console.$2" >log
    sed -n 's/^= //p' log >"result.$2"
}

check_set() {
    case $1 in
    avx512) cpu=4 processor=corei7_skylake_x ;;
    avx512vnni) cpu=5 processor=tigerlake ;;
    avxvnni) cpu=3 processor=arrow_lake ;; # since Bochs 3.0
    *)
        echo "bochs: '$1' is none of avx512, avx512vnni, avxvnni" >&2
        exit 2
        ;;
    esac
    seconds=- count=-
    if ! "$BOCHS" --help cpu 2>&1 | grep -qx $processor; then
        result="not run: this Bochs has no $processor"
    else
        echo "$1: booting $processor"
        begin=$(date +%s)
        make_disk $cpu "$1"
        run_guest $processor "$1"
        seconds=$(($(date +%s) - begin)) count=$(wc -l <"result.$1")
        result=same ran=1
        cmp -s expected "result.$1" || {
            result='FAILED: see above' failed=1
            tail -n 12 log
            cat bochs.log
            diff expected "result.$1" | head -n 6
        }
    fi
    printf '%-12s %-18s %8s %6s  %s\n' "$1" $processor "$seconds" "$count" "$result" >>table
}

missing() {
    echo "check-avx512: $1 is missing; make deps-avx512 brings it" >&2
    exit 2
}

check() {
    guest=$(cd "$here" && pwd)/guest.sh
    for tool in "$BOCHS" xorriso busybox; do
        command -v "$tool" >/dev/null || missing "$tool"
    done
    [ -e "$build/linux" ] || missing 'a kernel'
    cd "$build"
    true >table
    ran=0 failed=0
    make_root
    (cd root && PATH=$PWD/bin:$PATH bin/guest.sh 1 scalar >../expected 2>../log)
    for set in $SETS; do
        check_set "$set"
    done
    printf '\n%-12s %-18s %8s %6s  %s\n' set processor seconds lines result
    cat table
    [ $ran -eq 1 ] && [ $failed -eq 0 ]
}

case $mode in
deps | check) $mode ;;
esac
