#!/bin/sh
# The codec library needs zstd, the C library and the OpenMP run-time, and nothing else: a program
# links with those only and runs, and the shared library names no other library as needed.
set -eu
build=${VQZ_BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/use.c" <<'C'
#include "codec/vqz.h"
#include <stdio.h>
#include <string.h>
int main(void) {
    vqz_context *context = NULL;
    vqz_model *model = NULL;
    vqz_info info;
    vqz_diag diag;
    if (vqz_context_create(&context, NULL, &diag) != VQZ_OK)
        return puts(diag.message), 1;
    if (vqz_model_load(&model, "junk", 4, NULL, &diag) == VQZ_OK || model != NULL ||
        diag.message[0] == '\0')
        return puts("junk was taken for a model, or no reason was given"), 1;
    if (vqz_read_info("junk", 4, &info, &diag) == VQZ_OK)
        return puts("junk was taken for a picture"), 1;
    vqz_context_free(context);
    if (strcmp(vqz_version(), VERSION) != 0)
        return printf("library says %s, header %s\n", vqz_version(), VERSION), 1;
    return 0;
}
C
version=$(awk '/^#define VQZ_VERSION_/ { v = v s $3; s = "." } END { print v }' codec/vqz.h)
# shellcheck disable=SC2086 # LINK_FLAGS is a list
"${CC:-gcc}" -std=c11 -I. -DVERSION="\"$version\"" -o "$work/use" "$work/use.c" \
    "$build/libvqz.a" ${LINK_FLAGS:--fopenmp} -lzstd -lm
"$work/use"

# Sanitizers bring libraries of their own, so only the forbidden ones are named.
for file in "$work/use" "$build/libvqz.so.0"; do
    needed=$(ldd "$file")
    echo "$needed" | grep -q libzstd || { echo "$file does not link zstd: $needed"; exit 1; }
    if echo "$needed" | grep -E 'libpng|libjpeg|dnnl|libz\.|lcms|libcmocka'; then
        echo "$file needs a library that the codec must not need (above)"
        exit 1
    fi
    if echo "$needed" | grep 'not found'; then exit 1; fi
done
