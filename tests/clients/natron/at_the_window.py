"""Run in place of Natron and an artist: does what its arguments say in order, and prints the results.

Arguments: steps, each Python in which `app`, `node(n)`, `choose` and the modules are available; `see` prints.
"""

import inspect
import json
import sys
import time
from pathlib import Path

import NatronEngine
import NatronGui

app = NatronGui.GuiApp()
NatronEngine.natron.projects.append(app)
# As Natron does, and as CGRU's own init.py before ours.
__import__("afanasy")
for script in ("init.py",) if NatronEngine.natron.isBackground() else ("init.py", "initGui.py"):
    exec(next(file for folder in sys.path if (file := Path(folder, script)).exists()).read_text())
commands = NatronGui.natron.menu


def menu(entry):
    exec(commands["CGRU/" + entry], {"app": app})


def stock_menu():
    """What CGRU's own entry does."""
    import afanasy

    exec("reload(afanasy);afanasy.renderSelected(app);", {"afanasy": afanasy, "app": app})


def new_node():
    """As CGRU's group makes one, connected to a Write node."""
    node = app.createNode("cgru.afanasy")
    for name, value in (("af_frame_first", 1), ("af_frame_last", 10), ("af_frame_pertast", 1)):
        node.createIntParam(name, name).setValue(value)
    node.createIntParam("af_frame_increment", "inc").setValue(1)
    node.createBooleanParam("af_multi_forcerange", "force")
    write = app.createNode("fr.inria.openfx.WriteOIIO")
    write.createStringParam("filename", "File").setValue("/jobs/out.####.exr")
    node.inputs = [write]
    node.onParamChanged.set("afanasy.onParamChanged")
    return node


def labels(node):
    return [label for label, _ in node.getParam("afpools_choice").options]


def machines(node):
    """What the node says about its pool's machines."""
    return node.getParam("afpools_machines").getValue()


def choose(holder, start):
    """What happens when somebody picks an entry."""
    choice = holder.getParam("afpools_choice")
    choice.setValue(next(n for n, (label, _) in enumerate(choice.options) if label.startswith(start)))
    if isinstance(holder, NatronEngine.Effect):
        change(holder, "afpools_choice")


def change(node, name):
    import afanasy  # CGRU's init.py does

    called = eval(node.onParamChanged.called, {"afanasy": afanasy})
    # What Natron calls must have arguments of these names and no variadic ones (runChangedParamCallback in its source).
    names = ["thisParam", "thisNode", "thisGroup", "app", "userEdited"]
    assert inspect.getfullargspec(called)[:3] == (names, None, None)
    called(node.getParam(name) or NatronEngine.ButtonParam(name), node, None, app, True)


def dialog(start):
    """The artist picks a pool in the next dialog, and presses OK."""

    def answer(shown):
        if start is not None:
            choose(shown, start)
        return True

    app.answer = answer


def listed():
    """Waits until the broker has been asked."""
    import afanasy_pools

    afanasy_pools._pools().current()
    afanasy_pools._pools().wait(60)
    events()


def events():
    """Lets Natron's timers run, including those that they start."""
    from qtpy import QtCore

    while QtCore.waiting:
        QtCore.waiting.pop(0)()
        time.sleep(0.01)


def stored(pool):
    """A node of a saved project: it has the pool's name."""
    node = new_node()
    node.createStringParam("af_pool", "Chosen Pool").setValue(pool)
    return node


def see(value):
    print("SEEN " + json.dumps(value))


def messages():
    said = list(NatronGui.natron.messages)
    NatronGui.natron.messages.clear()
    return said


for step in sys.argv[1:]:
    exec(step)
