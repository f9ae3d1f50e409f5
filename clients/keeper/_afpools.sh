# For the other entries: $AFPOOLS is the afpools command ($AFPOOLS_COMMAND, else the one on the PATH), and in_terminal
# runs a line of bash in a terminal window; closing the window ends it.

give_up() {
	echo "$1" >&2
	# Keeper's own output is rarely seen.
	if command -v notify-send > /dev/null; then
		notify-send "Afanasy Pools" "$1"
	elif command -v osascript > /dev/null; then
		osascript -e "display alert \"Afanasy Pools\" message \"$1\""
	fi
	exit 1
}

in_terminal() {
	if [ -t 1 ]; then
		exec bash -c "$1"
	fi
	if [ "`uname`" = "Darwin" ]; then
		# Terminal takes a file to run, not a command.
		file=`mktemp -t afpools`.command
		printf '#!/bin/bash\nAFPOOLS=%q\nrm -f "$0"\n%s\n' "$AFPOOLS" "$1" > "$file"
		chmod 700 "$file"
		exec open "$file"
	fi
	for terminal in x-terminal-emulator gnome-terminal konsole xfce4-terminal xterm; do
		command -v "$terminal" > /dev/null || continue
		# The option before a command differs; newer versions of gnome-terminal warn about -e.
		[ "$terminal" = gnome-terminal ] && exec "$terminal" -- bash -c "$1"
		[ "$terminal" = xfce4-terminal ] && exec "$terminal" -x bash -c "$1"
		exec "$terminal" -e bash -c "$1"
	done
	give_up "No terminal was found. Run this in one: $AFPOOLS $2"
}

export AFPOOLS="${AFPOOLS_COMMAND:-`command -v afpools`}"
if [ -z "$AFPOOLS" ] || ! command -v "$AFPOOLS" > /dev/null; then
	give_up "The command ${AFPOOLS:-afpools} was not found. Install Afanasy Pools on this machine, or set AFPOOLS_COMMAND."
fi
