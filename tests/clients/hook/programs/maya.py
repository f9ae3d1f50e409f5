"""CGRU's Afanasy window in Maya, launched, with a stand-in for PyMEL in which only what the script has made exists."""

import os
import sys
import types

pm = types.ModuleType("pymel.core")


class MayaNodeError(Exception):
    pass


class MayaAttributeError(Exception):
    pass


FIELDS = {
    "start_frame": 1, "end_frame": 10, "frames_per_task": 1, "by_frame": 1, "depend_mask_global": "",
    "hosts_mask": "", "hosts_exclude": os.environ.get("EXCLUDE", ""), "separate_layers": 1, "paused": False,
    "wt_enable": False, "wt_hours": 0, "wt_minutes": 0, "life_time": 0, "annotation": "", "errors_avoid_host": 3,
    "errors_retries": 3, "errors_task_same_host": 3, "errors_forgive_time": 18000, "generate_previews": False,
    "close": False,
}  # fmt: skip


def field(kind):
    def ask(name, q=0, **asked):
        prefix, _, key = name.partition("__")
        if prefix != "cgru_afanasy" or key not in FIELDS or not q or len(asked) != 1:
            raise RuntimeError(f"Object '{name}' not found.")
        if not isinstance(FIELDS[key], kind):
            raise TypeError(name)
        return FIELDS[key]

    return ask


class Node:
    def __init__(self, **attributes):
        self._attributes = attributes

    def getAttr(self, name):
        return self._attributes[name]

    def name(self):
        return "renderCamShape"


def node(name):
    if name != "defaultRenderGlobals":
        raise MayaNodeError(name)
    return Node(currentRenderer="mayaSoftware")


pm.MayaNodeError, pm.MayaAttributeError, pm.PyNode = MayaNodeError, MayaAttributeError, node
pm.intField = pm.radioButtonGrp = field(int)
pm.textField, pm.checkBox = field(str), field(bool)
pm.ls = lambda type: [Node(renderable=True)]
pm.optionVar = {}
pm.sceneName = lambda: os.environ["HOME"] + "/shot.mb"
pm.workspace = lambda q, rootDirectory: os.environ["HOME"]
pm.renderSettings = lambda **asked: [
    os.environ["HOME"] + "/images/out.0001.exr",
    os.environ["HOME"] + "/images/out.0010.exr",
]
pm.saveAs = lambda path, force, type: None
pm.renameFile = lambda path: None
pm.PopupError = lambda text: print("POPUP", text)
pymel = types.ModuleType("pymel")
pymel.core = pm
sys.modules.update({"pymel": pymel, "pymel.core": pm})
# As setup_maya.sh has it.
sys.path.insert(0, os.path.join(os.environ["CGRU_LOCATION"], "plugins", "maya"))
import afanasy  # noqa: E402 - CGRU's own

window = afanasy.UI()
window.window = "cgru_afanasy_wnd"
window.launch()
