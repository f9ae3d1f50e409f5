# Maya runs every userSetup.py in PYTHONPATH when it starts, with or without a window; setup_afpools_maya.sh or .cmd
# puts this folder there. Maya 2020 with its Python 2.7 can load it too.

import afpools_maya

afpools_maya.start()
