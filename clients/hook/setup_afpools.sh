# Afanasy Pools: every job that a program of CGRU sends gets its pool (docs/hook.md). CGRU's setup.sh sources this.
_afpools_hook="$CGRU_LOCATION/plugins/afpools_hook"
case ":$PYTHONPATH:" in
  *":$_afpools_hook:"*) ;;
  *)
    export CGRU_CUSTOM_PYTHONPATH="$_afpools_hook${CGRU_CUSTOM_PYTHONPATH:+:$CGRU_CUSTOM_PYTHONPATH}"
    export PYTHONPATH="$_afpools_hook${PYTHONPATH:+:$PYTHONPATH}"
    ;;
esac
unset _afpools_hook
