#!/usr/bin/env bash
# Name=Manage Pools
# Icon=tools.png

source "`dirname "$0"`/_afpools.sh"

"$AFPOOLS" manager "$@"
