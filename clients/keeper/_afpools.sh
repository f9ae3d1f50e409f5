# Where the command afpools is: $AFPOOLS_COMMAND, else on the PATH.
AFPOOLS="${AFPOOLS_COMMAND:-`command -v afpools`}"
if [ -z "$AFPOOLS" ] || ! command -v "$AFPOOLS" > /dev/null; then
	message="The command ${AFPOOLS:-afpools} was not found. Install Afanasy Pools on this machine, or set AFPOOLS_COMMAND."
	echo "$message" >&2
	# Keeper's own output is seldom seen.
	if command -v notify-send > /dev/null; then
		notify-send "Afanasy Pools" "$message"
	elif command -v osascript > /dev/null; then
		osascript -e "display alert \"Afanasy Pools\" message \"$message\""
	fi
	exit 1
fi
