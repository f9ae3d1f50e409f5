"""Starts the pool chooser of CGRU's afanasy node in Nuke. Python 2.7 can load this file and say that it is too old."""

import os
import sys

import nuke

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

TOO_OLD = "Pools need Nuke 13 or newer: this one has Python {}.{}."

NODE = "afanasy"
POOL = "afpools_pool"
"""The knob that keeps a node's pool, `-` for no pool, empty if nothing was chosen."""


def start():
    # type: () -> None
    """Gives the node its chooser; in an old Nuke, refuses to send jobs of nodes that have a pool."""
    if sys.version_info >= (3, 7):
        import afpools_nuke_chooser

        afpools_nuke_chooser.install()
        return
    import imp

    library = os.path.join(os.path.dirname(os.path.abspath(__file__)), "afpools")
    imp.load_source("afpools_guard", os.path.join(library, "guard.py")).guard(
        TOO_OLD.format(*sys.version_info[:2]), nodes_with_a_pool, say
    )


def say(message):
    # type: (str) -> None
    """Shows a sentence, in a dialog if there is a window."""
    if nuke.GUI:
        nuke.message(message)
    else:
        print(message)


def nodes_with_a_pool():
    # type: () -> List[str]
    """The nodes of the script that have a pool, and which."""
    found = []
    for node in nuke.allNodes(NODE, nuke.root(), recurseGroups=True):
        knob = node.knob(POOL)
        if knob is not None and knob.value():
            found.append("{} ({})".format(node.name(), knob.value()))
    return found
