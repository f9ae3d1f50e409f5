"""Stands in for Houdini's module. Refuses what HOM refuses: values of another type, parameters and templates that are
there already or not at all. A group of templates is a copy until it is set.
"""

import json
import os
import types
from pathlib import Path


class OperationFailed(Exception):
    pass


def need(value, *kinds):
    if not isinstance(value, kinds):
        raise TypeError(f"{value!r} is not of a type that this takes")
    return value


scriptLanguage = types.SimpleNamespace(Python="python")
menuType = types.SimpleNamespace(StringReplace="replace")
severityType = types.SimpleNamespace(Warning="warning")
said, status, nodes, saved_files = [], [], {}, []


class ParmTemplate:
    def __init__(self, name, label):
        self._name, self._label = need(name, str), need(label, str)

    def name(self):
        return self._name


class StringParmTemplate(ParmTemplate):
    def __init__(
        self,
        name,
        label,
        num_components,
        default_value=(),
        item_generator_script="",
        item_generator_script_language=None,
        menu_type=None,
        join_with_next=False,
        help=None,
        script_callback=None,
        script_callback_language=None,
    ):
        super().__init__(name, label)
        if need(num_components, int) != len(need(default_value, tuple)):
            raise TypeError("a default for each component")
        (self.default,) = default_value
        self.menu, self.callback = need(item_generator_script, str), need(script_callback, str)
        if {item_generator_script_language, script_callback_language} != {scriptLanguage.Python}:
            raise TypeError("the scripts are HScript")
        need(join_with_next, bool)
        need(help, str)
        if menu_type != menuType.StringReplace:
            raise TypeError(menu_type)


class ButtonParmTemplate(ParmTemplate):
    def __init__(self, name, label, script_callback=None, script_callback_language=None):
        super().__init__(name, label)
        self.default, self.menu, self.callback = 0, "", need(script_callback, str)
        if script_callback_language != scriptLanguage.Python:
            raise TypeError("the script is HScript")


class ParmTemplateGroup:
    def __init__(self, entries):
        self.entries = list(entries)

    def find(self, name):
        return next((entry for entry in self.entries if entry.name() == need(name, str)), None)

    def append(self, template):
        self._add(len(self.entries), template)

    def insertAfter(self, name, template):
        if self.find(name) is None:
            raise OperationFailed(f"there is no {name}")
        self._add(self.entries.index(self.find(name)) + 1, template)

    def _add(self, at, template):
        if self.find(template.name()) is not None:
            raise OperationFailed(f"{template.name()} exists already")
        self.entries.insert(at, need(template, ParmTemplate))


class Parm:
    def __init__(self, node, name, value, template=None):
        self.node, self._name, self.value, self.template = node, name, value, template

    def eval(self):
        return self.value

    def evalAsString(self):
        return str(self.value)

    def evalAsStringAtFrame(self, frame):
        return need(self.value, str).replace("$F4", f"{frame:04}")

    def set(self, value):
        self.value = need(value, type(self.value))

    def menu(self):
        """What Houdini does when the menu is opened: a script is the body of a function."""
        place = {"hou": types.SimpleNamespace(**globals(), pwd=lambda: self.node)}
        body = "\n".join("    " + line for line in self.template.menu.split("\n"))
        exec(f"def script():\n{body}", place)
        items = place["script"]()
        if len(items) % 2 or not all(isinstance(item, str) for item in items):
            raise TypeError(items)
        return list(zip(items[::2], items[1::2], strict=True))

    def pressButton(self):
        exec(self.template.callback, {"kwargs": {"node": self.node}})


class Node:
    def __init__(self, kind, name, parms, inputs=()):
        self._kind, self._name, self._inputs, self._bypassed = kind, name, list(inputs), False
        self._parms = {key: Parm(self, key, value, ParmTemplate(key, key)) for key, value in parms.items()}
        self.spare = set()
        nodes[self.path()] = self

    def name(self):
        return self._name

    def path(self):
        return "/out/" + self._name

    def parm(self, name):
        return self._parms.get(need(name, str))

    def type(self):
        return types.SimpleNamespace(name=lambda: self._kind)

    def inputs(self):
        return tuple(self._inputs)

    def isBypassed(self):
        return self._bypassed

    def parmTemplateGroup(self):
        return ParmTemplateGroup(parm.template for parm in self._parms.values())

    def setParmTemplateGroup(self, group):
        was, self._parms = self._parms, {}
        for template in need(group, ParmTemplateGroup).entries:
            name = template.name()
            self.spare |= {name} - was.keys()
            self._parms[name] = was.get(name) or Parm(self, name, template.default, template)


class RopNode(Node):
    pass


NUMBERS = (
    "single_task local_render start_paused subtaskdepend tickets_use tickets_auto ticket_mem tickets_aux_use pools_use "
    "generate_previews preview_approval enable_extended_parameters file_check_enable cmd_mode check_output_folder "
    "ignore_inputs independent sep_enable pre_submit_script_enable post_submit_script_enable wait_time"
)
TEXTS = "job_branch tickets_aux_data pools_data output_driver ds_node take"
OF_AFANASY = {
    "job_name": "shot",
    **dict.fromkeys(NUMBERS.split(), 0),
    **dict.fromkeys(TEXTS.split(), ""),
    "render_temp_hip": 1,
    "platform": "any",
    "environment_dict": {},
    "trange": 1,
    "f1": 1,
    "f2": 10,
    "f3": 1,
    "frame_pertask": 1,
    "frame_sequential": 1,
}


def event(node, what):
    """What Houdini does with a node: the first script with its name in the path."""
    for folder in os.environ["HOUDINI_PATH"].split(os.pathsep):
        script = Path(folder, "scripts/out", f"{node.type().name()}_{what}.py")
        if script.is_file():
            exec(compile(script.read_text(), str(script), "exec"), {"kwargs": {"node": node}})
            return


def create(kind, name, inputs=()):
    if kind == "afanasy":
        node = Node(kind, name, OF_AFANASY, inputs)
    else:
        node = RopNode(kind, name, {"trange": 0, "sopoutput": f"/jobs/{name}.$F4.bgeo"}, inputs)
    event(node, "OnCreated")
    return node


def saved():
    """The scene as Houdini saves it: of spare parameters, templates and values."""
    kept = []
    for node in nodes.values():
        spare = {name: node.parm(name).eval() for name in node.spare}
        inputs = [other.path() for other in node.inputs()]
        kept.append({"type": node.type().name(), "name": node.name(), "inputs": inputs, "spare": spare})
    return json.dumps(kept)


def load(text):
    nodes.clear()
    loaded = []
    for kept in json.loads(text):
        kind = kept["type"]
        if kind == "afanasy":
            node = Node(kind, kept["name"], {**OF_AFANASY, **kept["spare"]})
        else:
            node = RopNode(kind, kept["name"], {"trange": 0, "sopoutput": f"/jobs/{kept['name']}.$F4.bgeo"})
        node.spare = set(kept["spare"])
        loaded.append((node, kept))
    for node, kept in loaded:
        node._inputs = [nodes[path] for path in kept["inputs"]]
        event(node, "OnLoaded")


def node(path):
    return nodes.get(path)


def nodeType(category, name):
    if category != "Driver":
        raise TypeError(category)
    return types.SimpleNamespace(instances=lambda: tuple(node for node in nodes.values() if node.type().name() == name))


def ropNodeTypeCategory():
    return "Driver"


def isUIAvailable():
    return "TERMINAL" not in os.environ


def frame():
    return 1.0


def hscript(command):
    saved_files.append(command)
    return "", ""


hipFile = types.SimpleNamespace(name=lambda: "/jobs/shot.hip")
ui = types.SimpleNamespace(
    displayMessage=lambda text: said.append(need(text, str)),
    setStatusMessage=lambda text, severity: status.append(need(text, str)),
)
