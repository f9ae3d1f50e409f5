#!/usr/bin/env bash
# Name=Pool Broker Health
# Icon=info.png

source "`dirname "$0"`/_afpools.sh"

in_terminal '"$AFPOOLS" health; echo; read -r -p "Press Enter to close."' health
