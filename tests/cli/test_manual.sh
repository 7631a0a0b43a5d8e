#!/bin/sh
# The manual page names every command and every option that the program's own help names.
set -eu
program=${VQZ:-./vqz}
plain=$(sed 's/\\-/-/g' spec/vqz.1)
commands=$("$program" --help | sed -n 's/^  vqz \([a-z][a-z]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 5 ] || { echo "too few commands in vqz --help: $commands"; exit 1; }
missing=
for command in $commands; do
    echo "$plain" | grep -q "^\.SS vqz $command\$" || missing="$missing $command"
    options=$("$program" "$command" --help | sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p')
    [ -n "$options" ] || { echo "no options in vqz $command --help"; exit 1; }
    for option in $options; do
        echo "$plain" | grep -qE -- "(^| |\")$option( |\"|,|;|\\\\|\$)" || missing="$missing $command:$option"
    done
done
[ -z "$missing" ] || { echo "spec/vqz.1 lacks:$missing"; exit 1; }
