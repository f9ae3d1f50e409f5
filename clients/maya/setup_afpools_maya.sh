# Afanasy Pools: CGRU's Afanasy window in Maya has a pool to choose (docs/choosers.md). CGRU's setup.sh sources this.
_afpools_maya="$CGRU_LOCATION/plugins/maya_afpools"
case ":$PYTHONPATH:" in
  *":$_afpools_maya:"*) ;;
  *) export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$_afpools_maya" ;;
esac
unset _afpools_maya
