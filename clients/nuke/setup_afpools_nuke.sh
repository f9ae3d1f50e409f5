# Afanasy Pools: the afanasy node in Nuke has a pool to choose (docs/choosers.md). CGRU's setup.sh sources this.
_afpools_nuke="$CGRU_LOCATION/plugins/nuke_afpools"
case ":$NUKE_PATH:" in
  *":$_afpools_nuke:"*) ;;
  *) export NUKE_PATH="$_afpools_nuke${NUKE_PATH:+:$NUKE_PATH}" ;;
esac
unset _afpools_nuke
