"""Run in place of Nuke and an artist: does what its arguments say in order, and prints the results."""

import json
import os
import sys

import nuke

for folder in os.environ["NUKE_PATH"].split(os.pathsep):
    sys.path.append(folder)
    nuke.run(folder)


def afanasy(pool=None):
    """An afanasy node above a Write node."""
    node = nuke.createNode("afanasy")
    node.setInput(0, nuke.createNode("Write"))
    if pool is not None:
        node.knob("afpools_pool").setValue(pool)
    return node


def choose(node, start):
    """What happens when somebody picks an entry."""
    knob = node.knob("afpools_choice")
    knob.setValue(next(item for item in knob.values() if item.startswith(start)))


def listed():
    """Waits until the broker has been asked, and lets Nuke's main thread show it."""
    import afpools_nuke_chooser

    afpools_nuke_chooser._pools().current()
    afpools_nuke_chooser._pools().wait(60)
    while nuke.for_main_thread:
        nuke.for_main_thread.pop(0)()


def send(node):
    """What the node's own button does."""
    import cgru

    cgru.render(node)


def see(value):
    print("SEEN " + json.dumps(value))


for step in sys.argv[1:]:
    exec(step)
