#!/usr/bin/env bash
# Name=Manage Pools
# Icon=tools.png

source "`dirname "$0"`/_afpools.sh"

in_terminal '"$AFPOOLS" manager || read -r -p "Press Enter to close."' manager
