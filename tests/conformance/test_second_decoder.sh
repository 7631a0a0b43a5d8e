#!/bin/sh
# The decoder that was written from the text alone is C99, and gives every vector of spec/vectors/ the outcome of
# the list; and random models and files, valid and damaged, the one that the library gives them.
# COUNT=n SEED=n: so many random models, from this seed on (make check-spec).
set -u
vectors=$PWD/spec/vectors
drive=${VQZ_BUILD:-$PWD/build}/tests/conformance/random_files
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

sanitizers=
for flag in ${LINK_FLAGS:-}; do
    case $flag in -fsanitize=*) sanitizers="$sanitizers $flag" ;; esac
done
# shellcheck disable=SC2086 # none or several
"${CC:-gcc}" -std=c99 -pedantic -Wall -Wextra -Werror -O2 $sanitizers -o "$work/vqzdec" \
    spec/decoder/vqzdec.c -lzstd -lm || exit 1

cd "$vectors" || exit 1
lines=0 bad=0
while read -r file model outcome; do
    lines=$((lines + 1))
    "$work/vqzdec" -s "$model" "$file" >"$work/out" 2>"$work/err"
    code=$?
    out=$(cat "$work/out") err=$(cat "$work/err")
    case $outcome in
    *x*x*) [ $code -eq 0 ] && [ -z "$err" ] && [ "$out" = "$outcome" ] ;;
    version | unsupported) [ $code -eq 1 ] && [ -z "$out" ] && expr "$err" : '.*: unsupported: ' ;;
    *) [ $code -eq 1 ] && [ -z "$out" ] && expr "$err" : '.*: invalid: ' ;;
    esac >/dev/null && [ "$(wc -l <"$work/err")" -le 1 ] && continue
    bad=$((bad + 1))
    echo "$file $model: expected $outcome, got $code, $out$err"
done <list.txt
echo "$lines vectors, $bad wrong"
[ "$lines" -gt 150 ] && [ $bad -eq 0 ] || exit 1

# PGM, PPM, and PAM where there is alpha
for kind in gray-odd:gray:P5 rgb-packed:rgb:P6 rgba:rgba:P7; do
    model=${kind#*:}
    "$work/vqzdec" "models/${model%:*}.vqm" "good/${kind%%:*}.vqz" "$work/picture" || exit 1
    [ "$(head -c 2 "$work/picture")" = "${kind##*:}" ] || { echo "$kind: another file"; exit 1; }
done

cd "$work" && "$drive" "$work/vqzdec" "${COUNT:-12}" "${SEED:-1}"
