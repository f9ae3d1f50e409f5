"""Run in place of Houdini and an artist: does what its arguments say in order, and prints the results."""

import json
import os
import sys
from pathlib import Path

import hou

for folder in os.environ["HOUDINI_PATH"].split(os.pathsep):
    if Path(folder, "scripts/python").is_dir():
        sys.path.append(os.path.join(folder, "scripts/python"))


def afanasy(pool="", name="afanasy1", above=()):
    """An afanasy node above a geometry ROP."""
    node = hou.create("afanasy", name, [*above, hou.create("geometry", "of_" + name)])
    node.parm("afpools_pool").set(pool)
    return node


def send(node):
    """What the node's own button does."""
    exec("import afanasy;afanasy.render(kwargs['node'])", {"kwargs": {"node": node}})


def listed():
    """Waits until the broker has been asked."""
    import afpools_houdini_chooser

    afpools_houdini_chooser._pools().current()
    afpools_houdini_chooser._pools().wait(60)


def choose(node, start):
    """What happens when somebody picks an entry of the menu."""
    parm = node.parm("afpools_pool")
    parm.set(next(name for name, label in parm.menu() if label.startswith(start)))
    parm.pressButton()


def see(value):
    print("SEEN " + json.dumps(value))


for step in sys.argv[1:]:
    exec(step)
