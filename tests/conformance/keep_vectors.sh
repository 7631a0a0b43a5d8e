#!/bin/sh
# keep_vectors.sh NEW OLD - adds the vectors of folder NEW that folder OLD lacks, with their lines of list.txt
# and the tables of README.md.  A vector that is there already is kept for ever: when NEW has other bytes or
# another outcome for it, that is printed, and the exit code is 1.
set -eu
new=$1 old=$2
changed=0 added=0

for path in "$new"/*/*; do
    name=${path#"$new"/}
    if [ ! -e "$old/$name" ]; then
        mkdir -p "$(dirname "$old/$name")"
        cp "$path" "$old/$name"
        added=$((added + 1))
    elif ! cmp -s "$path" "$old/$name"; then
        echo "$name would change; the old one is kept (another version of zstd writes other bytes)"
        changed=$((changed + 1))
    fi
done

touch "$old/list.txt"
while read -r line; do
    key=${line%"${line#* * }"} # file and model, with the blanks behind them
    if ! grep -qF "$key" "$old/list.txt"; then
        echo "$line" >>"$old/list.txt"
    elif ! grep -qxF "$line" "$old/list.txt"; then
        echo "$key: another outcome: $line"
        changed=$((changed + 1))
    fi
done <"$new/list.txt"

if [ "$changed" -eq 0 ]; then # the tables describe what is there
    { sed '/^## All of them/q' "$old/README.md" && echo && cat "$new/table.md"; } >"$new/README.md"
    cmp -s "$new/README.md" "$old/README.md" || cp "$new/README.md" "$old/README.md"
fi
echo "$added added, $changed changed"
[ "$changed" -eq 0 ]
