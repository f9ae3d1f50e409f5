"""Starts the pool chooser of CGRU's afanasy node in Houdini. Python 2.7 can load this file and say that it is too
old."""

import os
import sys

import hou

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List

TOO_OLD = "Pools need a Houdini with Python 3.7 or newer: this one has Python {}.{}."

NODE = "afanasy"
POOL = "afpools_pool"
"""The parameter that keeps a node's pool: `-` for no pool, empty if nothing was chosen."""


def started(node):
    # type: (Any) -> None
    """Gives a node its chooser; in an old Houdini, refuses to send jobs of nodes that have a pool."""
    if sys.version_info >= (3, 7):
        import afpools_houdini_chooser

        afpools_houdini_chooser.add_parms(node)
        return
    import imp

    library = os.path.join(os.path.dirname(os.path.abspath(__file__)), "afpools")
    imp.load_source("afpools_guard", os.path.join(library, "guard.py")).guard(
        TOO_OLD.format(*sys.version_info[:2]), nodes_with_a_pool, say
    )


def say(message):
    # type: (str) -> None
    """Shows a sentence, in a dialog if there is a window."""
    if hou.isUIAvailable():
        hou.ui.displayMessage(message)
    else:
        print(message)


def nodes_with_a_pool():
    # type: () -> List[str]
    """The nodes of the scene that have a pool, and which."""
    nodes = hou.nodeType(hou.ropNodeTypeCategory(), NODE).instances()
    return ["{} ({})".format(node.path(), pool_of(node)) for node in nodes if pool_of(node)]


def pool_of(node):
    # type: (Any) -> str
    """What a node's chooser says; empty for a node that has none."""
    parm = node.parm(POOL)
    return str(parm.evalAsString()) if parm is not None else ""
