"""CGRU's afanasy ROP in Houdini, with a stand-in for `hou`: a parameter that a node does not have is None, and an int
parameter refuses a text, as in Houdini."""

import sys
import types

hou = types.ModuleType("hou")


class OperationFailed(Exception):
    pass


class Parm:
    def __init__(self, value):
        self.value = value

    def eval(self):
        return self.value

    def evalAsStringAtFrame(self, frame):
        if not isinstance(self.value, str):
            raise OperationFailed("not a string parameter")
        return self.value.replace("$F4", f"{frame:04}")

    def set(self, value):
        if type(value) is not type(self.value):
            raise TypeError(value)
        self.value = value


class Node:
    def __init__(self, name, kind, parms, inputs=()):
        self._name, self._kind, self._inputs = name, kind, list(inputs)
        self._parms = {key: Parm(value) for key, value in parms.items()}

    def name(self):
        return self._name

    def path(self):
        return "/out/" + self._name

    def parm(self, name):
        return self._parms.get(name)

    def type(self):
        return types.SimpleNamespace(name=lambda: self._kind)

    def inputs(self):
        return tuple(self._inputs)

    def isBypassed(self):
        return False


class RopNode(Node):
    pass


hou.RopNode, hou.OperationFailed = RopNode, OperationFailed
hou.isUIAvailable = lambda: False
hou.frame = lambda: 1.0
hou.node = lambda path: None
hou.hscript = lambda command: ("", "")
hou.hipFile = types.SimpleNamespace(name=lambda: "/jobs/shot.hip", save=lambda name=None: None)
sys.modules["hou"] = hou

numbers = (
    "single_task local_render start_paused subtaskdepend tickets_use tickets_auto ticket_mem tickets_aux_use pools_use "
    "generate_previews preview_approval enable_extended_parameters file_check_enable cmd_mode check_output_folder "
    "ignore_inputs independent sep_enable render_temp_hip pre_submit_script_enable post_submit_script_enable wait_time"
)
texts = "job_branch tickets_aux_data pools_data output_driver ds_node take"
parms = {
    **dict.fromkeys(numbers.split(), 0),
    **dict.fromkeys(texts.split(), ""),
    "job_name": "shot",
    "platform": "any",
    "environment_dict": {},
    "trange": 1,
    "f1": 1,
    "f2": 10,
    "f3": 1,
    "frame_pertask": 1,
    "frame_sequential": 1,
}
geometry = RopNode("cache", "geometry", {"trange": 0, "sopoutput": "/jobs/cache.$F4.bgeo"})

import afanasy  # noqa: E402 - CGRU's own

afanasy.render(Node("afanasy1", "afanasy", parms, [geometry]))
