"""Run in place of Maya and an artist: does what its arguments say in order, and prints the results."""

import json
import os
import sys
from pathlib import Path

import maya
from maya import cmds

for folder in list(sys.path):
    script = Path(folder, "userSetup.py")
    if script.is_file():
        exec(compile(script.read_text(), str(script), "exec"), {"__name__": "__main__"})


def window():
    """What the menu's entry does."""
    import afanasy

    ui = afanasy.UI()
    ui.show()
    return ui


def labels():
    return [
        maya.there(item).values["label"]
        for item in cmds.optionMenu("cgru_afanasy__pool", query=True, itemListLong=True)
    ]


def shown():
    return labels()[cmds.optionMenu("cgru_afanasy__pool", query=True, select=True) - 1]


def beside():
    return maya.there("cgru_afanasy__pool_beside").values["label"]


def choose(start):
    """What happens when somebody picks an entry."""
    number = next(n for n, label in enumerate(labels(), 1) if label.startswith(start))
    menu = maya.there("cgru_afanasy__pool").values
    menu["select"] = number
    menu["changeCommand"](labels()[number - 1])


def press(label):
    next(c for c in maya.controls.values() if c.kind == "button" and c.values["label"] == label).values["command"](
        False
    )


def listed():
    """Waits until the broker has been asked, and lets Maya show it when it is idle."""
    import afpools_maya_chooser

    afpools_maya_chooser._pools().current()
    afpools_maya_chooser._pools().wait(60)
    while maya.deferred:
        maya.deferred.pop(0)()


def rows():
    """The names of the named controls, as they come in the window's column."""
    (column,) = maya.there("cgru_afanasy_wnd").children
    named = [[c.name for c in (row, *row.children) if c.name.startswith("cgru")] for row in column.children]
    return [name for row in named for name in row]


def another_script():
    """Sends a job that does not come from the window."""
    import af

    job = af.Job("x")
    block = af.Block("x", "maya")
    block.setNumeric(1, 1)
    block.setCommand("true")
    job.blocks.append(block)
    return job.send()


def scenes():
    return [name for name in os.listdir(os.environ["HOME"]) if name.endswith(".mb")]


def see(value):
    print("SEEN " + json.dumps(value))


for step in sys.argv[1:]:
    exec(step)
