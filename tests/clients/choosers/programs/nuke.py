"""Stands in for Nuke's module. Refuses what Nuke's own API refuses: values of another type, a name that exists, a node
outside of its callback. Nodes of the class afanasy are made from CGRU's own gizmo.
"""

import contextlib
import json
import os
import re
import sys
from pathlib import Path

GUI = "TERMINAL" not in os.environ


def need(value, *kinds):
    if type(value) not in kinds:
        raise TypeError(f"{value!r} is not of a type that this takes")
    return value


class Knob:
    def __init__(self, name, label=None):
        self._name, self.node, self.tooltip = need(name, str), None, ""

    def name(self):
        return self._name

    def value(self):
        return self._value

    def setTooltip(self, text):
        self.tooltip = need(text, str)

    def changed(self):
        if self.node is not None:
            call(knob_changed, self.node, self)


class String_Knob(Knob):
    def __init__(self, name, label=None, value=""):
        super().__init__(name, label)
        self._value = need(value, str)

    def setValue(self, value):
        before, self._value = self._value, need(value, str)
        if before != value:
            self.changed()

    def getEvaluatedValue(self, context):
        return self._value % context.frame if "%" in self._value else self._value


Text_Knob = String_Knob


class Tab_Knob(Knob):
    _value = 0


class PyScript_Knob(Knob):
    def __init__(self, name, label=None, command=""):
        super().__init__(name, label)
        self._value = need(command, str)

    def execute(self):
        exec(self._value)


class Int_Knob(Knob):
    def __init__(self, name, value):
        super().__init__(name)
        self._value = value

    def setValue(self, value):
        self._value = need(value, int, float)


class Enumeration_Knob(Knob):
    """Keeps the number of its entry, whatever the entries are."""

    def __init__(self, name, label, items):
        super().__init__(name, label)
        self.items, self.index = need(items, list), 0

    def setValues(self, items):
        for item in need(items, list):
            need(item, str)
        self.items = items
        # A new list may mean another entry.
        self.changed()

    def values(self):
        return list(self.items)

    def value(self):
        return self.items[self.index] if self.index < len(self.items) else ""

    def setValue(self, item):
        index = item if need(item, int, str) == item and isinstance(item, int) else self.items.index(item)
        if not 0 <= index < len(self.items):
            raise ValueError(f"there is no entry {item!r}")
        before, self.index = self.index, index
        if before != index:
            self.changed()


class Node:
    def __init__(self, kind, name, knobs):
        self._kind, self._name, self.inputs_, self.user = kind, name, [], set()
        self.knobs_ = {knob.name(): knob for knob in knobs}
        for knob in knobs:
            knob.node = self

    def Class(self):
        return self._kind

    def name(self):
        return self._name

    fullName = name

    def knob(self, name):
        return self.knobs_.get(need(name, str))

    def __getitem__(self, name):
        return self.knobs_[name]

    def addKnob(self, knob):
        if knob.name() in self.knobs_:
            raise ValueError(f"{knob.name()} exists already")
        self.knobs_[knob.name()], knob.node = knob, self
        self.user.add(knob.name())
        script["modified"] = True

    def inputs(self):
        return len(self.inputs_)

    def input(self, number):
        return self.inputs_[number]

    def setInput(self, number, node):
        self.inputs_[number:] = [node]


class Root(Node):
    def firstFrame(self):
        return 1

    def lastFrame(self):
        return 10

    def fps(self):
        return 24


class OutputContext:
    def setView(self, view):
        if view < 1:
            raise ValueError("views are counted from 1")

    def setFrame(self, frame):
        self.frame = frame


script = {"root": None, "nodes": [], "modified": False, "this": None}
on_create, knob_changed, messages, for_main_thread = [], [], [], []


def new_script():
    script.update(
        root=Root("Root", os.environ["HOME"] + "/shot.nk", [Int_Knob("proxy", False)]), nodes=[], modified=False
    )


def addOnCreate(call, args=(), kwargs=None, nodeClass="*"):
    on_create.append((call, nodeClass))


def addKnobChanged(call, args=(), kwargs=None, nodeClass="*", node=None):
    knob_changed.append((call, nodeClass))


def call(callbacks, node, knob=None):
    before, script["this"] = script["this"], (node, knob)
    try:
        for function, kind in callbacks:
            if kind in ("*", node.Class()):
                function()
    finally:
        script["this"] = before


def this():
    if script["this"] is None:
        raise RuntimeError("there is no context")
    return script["this"]


def thisNode():
    return this()[0]


def thisKnob():
    return this()[1]


def root():
    return script["root"]


def allNodes(filter=None, group=None, recurseGroups=False):
    return [node for node in script["nodes"] if filter in (None, node.Class())]


def toNode(name):
    return script["root"] if name == "root" else next((n for n in script["nodes"] if n.name() == name), None)


def views():
    return ["main"]


def message(text):
    messages.append(need(text, str))


def ask(text):
    raise RuntimeError(f"nobody answers {text!r}")


def modified(changed=None):
    if changed is not None:
        script["modified"] = bool(need(changed, bool, int))
    return script["modified"]


def scriptSave(path):
    need(path, str)
    Path(path).touch()
    return True


def executeInMainThread(function, args=(), kwargs=None):
    for_main_thread.append(function)


def pluginAddPath(path, addToSysPath=True):
    sys.path.insert(0, path)
    run(path)


def run(folder):
    """What Nuke does with a folder of its path."""
    file = Path(folder, "init.py")
    if file.is_file():
        exec(compile(file.read_text(), str(file), "exec"), {"nuke": sys.modules["nuke"], "__name__": "init"})


def of_gizmo():
    """The knobs of CGRU's gizmo, with their values."""
    text = Path(os.environ["CGRU_LOCATION"], "plugins/nuke/gizmos/afanasy.gizmo").read_text()
    values = dict(re.findall(r"^\t(\w+) +(\S+)$", text, re.M))
    for kind, name in re.findall(r"addUserKnob \{ *(\d+) (\w+)", text):
        value = values.get(name, '""').strip('"')
        if kind in ("3", "6", "7"):
            yield Int_Knob(name, int(value or 0))
        elif kind == "4":
            yield Enumeration_Knob(name, name, ["Any", "Native"])
        elif kind in ("1", "43"):
            yield String_Knob(name, name, value)


def createNode(kind, name="", saved=()):
    if kind == "Write":
        knobs = [String_Knob("file", "", os.environ["HOME"] + "/out.%04d.exr"), String_Knob("views", "", "main")]
    else:
        knobs = list(of_gizmo())
    knobs.append(Int_Knob("disable", False))
    node = Node(kind, name or f"{kind}{len(script['nodes']) + 1}", knobs)
    for knob in saved:
        node.addKnob(knob)
    script["nodes"].append(node)
    call(on_create, node)
    return node


def saved():
    """The script as Nuke saves it: of what was added to the gizmo, kinds, entries and values."""
    return json.dumps(
        [
            {
                "class": node.Class(),
                "name": node.name(),
                "inputs": [other.name() for other in node.inputs_],
                "knobs": [
                    [type(knob).__name__, name, getattr(knob, "items", None), knob.value()]
                    for name, knob in node.knobs_.items()
                    if name in node.user
                ],
            }
            for node in script["nodes"]
        ]
    )


def open_script(text):
    new_script()
    for kept in json.loads(text):
        knobs = []
        for kind, name, items, value in kept["knobs"]:
            knob = globals()[kind](name, name, items) if items is not None else globals()[kind](name, name)
            with contextlib.suppress(AttributeError, ValueError):
                knob.setValue(value)
            knobs.append(knob)
        createNode(kept["class"], kept["name"], knobs)
    for kept in json.loads(text):
        toNode(kept["name"]).inputs_ = [toNode(name) for name in kept["inputs"]]
    script["modified"] = False


new_script()
