# Afanasy Pools: the afanasy node in Houdini has a pool to choose (docs/choosers.md). CGRU's setup.sh sources this.
_afpools_houdini="$CGRU_LOCATION/plugins/houdini_afpools"
case ":$HOUDINI_PATH:" in
  *":$_afpools_houdini:"*) ;;
  *) export HOUDINI_PATH="$_afpools_houdini${HOUDINI_PATH:+:$HOUDINI_PATH}" ;;
esac
unset _afpools_houdini
