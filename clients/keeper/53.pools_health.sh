#!/usr/bin/env bash
# Name=Pool Broker Health
# Icon=info.png

source "`dirname "$0"`/_afpools.sh"

show='"$AFPOOLS" health; echo; read -r -p "Press Enter to close."'
export AFPOOLS
if [ -t 1 ]; then
	exec bash -c "$show"
fi
if [ "`uname`" = "Darwin" ]; then
	# Terminal takes a file to run, not a command.
	file=`mktemp -t afpools`.command
	printf '#!/bin/bash\nAFPOOLS=%q\nrm -f "$0"\n%s\n' "$AFPOOLS" "$show" > "$file"
	chmod 700 "$file"
	exec open "$file"
fi
for terminal in x-terminal-emulator gnome-terminal konsole xfce4-terminal xterm; do
	command -v "$terminal" > /dev/null || continue
	# What comes before a command differs; a newer gnome-terminal warns of -e.
	[ "$terminal" = gnome-terminal ] && exec "$terminal" -- bash -c "$show"
	[ "$terminal" = xfce4-terminal ] && exec "$terminal" -x bash -c "$show"
	exec "$terminal" -e bash -c "$show"
done
echo "No terminal was found to show the health in. Run this in one: $AFPOOLS health" >&2
exit 1
