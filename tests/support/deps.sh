#!/bin/sh
# deps.sh PACKAGE... - makes sure that the Debian packages are installed; `make deps` gives the list.
#
# Silent when all are there.  Where there is no dpkg it only looks whether the headers in $HEADERS
# can be compiled, and otherwise says which libraries ($NAMES) to install.
set -u

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    for header in $HEADERS; do
        printf '#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdarg.h>\n#include <setjmp.h>\n#include <%s>\n' "$header" |
            "$CC" -fopenmp -x c -fsyntax-only - 2>/dev/null || missing="${missing:-} $header"
    done
    [ -z "${missing:-}" ] && exit 0
    echo "make deps: this is not a Debian system, so nothing can be installed from here." >&2
    echo "make deps: not found:$missing" >&2
    echo "make deps: install a C compiler ($CC) and these libraries with your package manager:" >&2
    echo "make deps:   $NAMES" >&2
    exit 1
fi

missing=
for package in "$@"; do
    # one line an architecture
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
        missing="$missing $package"
done
[ -z "$missing" ] && exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "make deps: needs root to run: apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "make deps: installing the missing packages:$missing"
echo "make deps: running ${sudo:+sudo }apt-get update and apt-get install"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is meant to be split
if ! $sudo apt-get -qq update || ! $sudo apt-get -qq -y --no-install-recommends install $missing >/dev/null; then
    echo "make deps: apt-get failed; on Debian 12 the packages are:$missing" >&2
    echo "make deps: elsewhere install: $NAMES" >&2
    exit 1
fi
