#!/bin/sh
# guest.sh CPU SET - prints what must be the same on every processor; see bochs.sh.  CPU is the number
# of a vqz_cpu, SET its name.  The folder it runs in has picture.png; the shell may be busybox's.
set -eu
test_kernels >&2
encodes "$1" 1
export VQZ_CPU="$2"
vqz compress --quiet -o picture.vqz picture.png
vqz decompress --quiet -o picture.pam picture.vqz
busybox sha256sum picture.vqz picture.pam
rm picture.vqz picture.pam
echo 'all of it ran'
