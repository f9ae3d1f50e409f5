# Houdini runs this when an afanasy node is created, because setup_afpools_houdini.sh or .cmd puts the folder above into
# HOUDINI_PATH. A Houdini with Python 2.7 can load it too.

import afpools_houdini

afpools_houdini.started(kwargs["node"])  # noqa: F821 - Houdini defines it
