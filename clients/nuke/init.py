# Nuke runs this when it starts, with or without a window, because setup_afpools_nuke.sh or .cmd puts this folder into
# NUKE_PATH. Nuke 11 and 12 with their Python 2.7 can load it too.

import afpools_nuke

afpools_nuke.start()
