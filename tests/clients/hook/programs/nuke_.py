"""CGRU's afanasy script in Nuke sends a Write node, with a stand-in for `nuke`. What Nuke shows in a box is printed."""

import os
import sys
import types
from pathlib import Path

nuke = types.ModuleType("nuke")


class Knob:
    def __init__(self, value):
        self._value = value

    def value(self):
        return self._value

    def getEvaluatedValue(self, context):
        return self._value % context.frame if "%" in self._value else self._value


class OutputContext:
    def setView(self, view):
        if view < 1:
            raise ValueError("views are counted from 1")

    def setFrame(self, frame):
        self.frame = frame


class Root:
    def name(self):
        return os.path.join(os.environ["HOME"], "shot.nk")

    def firstFrame(self):
        return 1

    def lastFrame(self):
        return 10

    def knob(self, name):
        return {"proxy": Knob(False)}.get(name)


class Write:
    def __init__(self, file):
        self._knobs = {"file": Knob(file), "views": Knob("main")}

    def Class(self):
        return "Write"

    def name(self):
        return "Write1"

    fullName = name

    def knob(self, name):
        return self._knobs.get(name)


nuke.root = Root
nuke.toNode = {"root": Root()}.get
nuke.views = lambda: ["main"]
nuke.OutputContext = OutputContext
nuke.message = lambda text: print("MESSAGE", text)
nuke.modified = lambda changed=None: False
nuke.scriptSave = lambda path: Path(path).touch()
nuke.pluginAddPath = lambda path: None
sys.modules["nuke"] = nuke

os.environ["NUKE_CGRU_PATH"] = os.path.join(os.environ["CGRU_LOCATION"], "plugins", "nuke")
exec(Path(os.environ["NUKE_CGRU_PATH"], "init.py").read_text(), {"nuke": nuke, "__name__": "init"})
sys.path.insert(0, os.path.join(os.environ["NUKE_CGRU_PATH"], "scripts", "cgru"))
import afanasy  # noqa: E402 - CGRU's own

afanasy.renderNodes([Write(os.path.join(os.environ["HOME"], "out.%04d.exr"))], {}, False)
