# Houdini runs this when it loads an afanasy node, with a scene or from the clipboard: scenes from before get the
# chooser too. A Houdini with Python 2.7 can load it.

import afpools_houdini

afpools_houdini.started(kwargs["node"])  # noqa: F821 - Houdini defines it
