#!/usr/bin/env bash
# Name=Submit Job (pools)...
# Icon=afanasy.png

source "`dirname "$0"`/_setup.sh"

"$CGRU_PYTHONEXE" "$CGRU_LOCATION/utilities/afstarter_pools/afstarter_pools.py" "$@"
