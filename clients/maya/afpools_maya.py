"""Starts the pool chooser of CGRU's Afanasy window in Maya. Python 2.7 can load this file and say that it is too
old."""

import os
import sys

from maya import cmds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

TOO_OLD = "Pools need Maya 2022 or newer: this one has Python {}.{}."

POOL = "afpools_pool"
"""Under this name, a scene's `fileInfo` keeps the pool."""

# Not this folder itself: it is in the path of all of CGRU's programs.
LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "library")


def start():
    # type: () -> None
    """Gives CGRU's window a chooser; in an old Maya, refuses to send jobs of scenes that have a pool."""
    if sys.version_info >= (3, 7):
        sys.path.insert(0, LIBRARY)
        import afpools_maya_chooser

        afpools_maya_chooser.install()
        return
    import imp

    imp.load_source("afpools_guard", os.path.join(LIBRARY, "afpools", "guard.py")).guard(
        TOO_OLD.format(*sys.version_info[:2]), scene_with_a_pool, say
    )


def say(message):
    # type: (str) -> None
    """Shows a sentence, in a dialog if there is a window."""
    if cmds.about(batch=True):
        print(message)
    else:
        cmds.confirmDialog(title="Afanasy Pools", message=message, button=["OK"])


def scene_with_a_pool():
    # type: () -> List[str]
    """The scene, if it has a pool, and which."""
    return ["the scene ({})".format(pool) for pool in cmds.fileInfo(POOL, query=True) or []]
