"""Stands in for Maya: one tree of controls and one scene, which `maya.cmds` and PyMEL's stand-in share.

Refuses what Maya refuses: a flag that a command does not have, a value of another type, a name that does not exist,
more children than a row has columns.
"""

import os

BATCH = "TERMINAL" in os.environ

SHORT = {"q": "query", "e": "edit", "v": "value", "l": "label", "t": "title", "c": "command", "ann": "annotation"}
SHORT |= {"h": "height", "al": "align", "adj": "adjustableColumn", "nc": "numberOfColumns", "sl": "select"}

LABELLED = {"label": str, "annotation": str, "height": int, "align": str}
ROW = {"numberOfColumns": int, "adjustableColumn": (int, bool)}
ROW |= {f"c{kind}{n}": (list, tuple) for n in range(2, 7) for kind in "lw"}
ROW |= {f"columnWidth{n}": (list, tuple) for n in range(2, 7)}
NUMBER = {"value": int, "min": int, "max": int, "annotation": str}
FLAGS = {
    "window": {"title": str},
    "columnLayout": {"adjustableColumn": bool},
    "rowLayout": ROW,
    "text": {**LABELLED, "wordWrap": bool},
    "button": {**LABELLED, "command": object},
    "intField": NUMBER,
    "textField": {"text": str},
    "checkBox": {"value": (bool, int), "label": str, "annotation": str},
    "radioButtonGrp": {"numberOfRadioButtons": int, "label": str, "labelArray3": list, "cw4": list, "select": int},
    "separator": {"style": str},
    "optionMenu": {"annotation": str, "changeCommand": object, "select": int, "itemListLong": bool},
    "menuItem": {"label": str, "parent": str},
}
LAYOUTS = ("window", "columnLayout", "rowLayout")

controls, scene, options, said, warnings, deferred = {}, {}, {}, [], [], []
current = [None]


class Control:
    def __init__(self, kind, name, parent):
        self.kind, self.name, self.parent, self.children, self.values = kind, name, parent, [], {}
        if parent is not None:
            row = parent.values.get("numberOfColumns")
            if row is not None and len(parent.children) == row:
                raise RuntimeError("Too many children in layout")
            parent.children.append(self)

    # As PyMEL's layouts.
    def __enter__(self):
        return self

    def __exit__(self, *raised):
        current[0] = self.parent

    def delete(self):
        for child in list(self.children):
            child.delete()
        del controls[self.name]
        if self.parent is not None:
            self.parent.children.remove(self)


def there(name):
    if name not in controls:
        raise RuntimeError(f"Object '{name}' not found.")
    return controls[name]


def command(kind):
    """A command of Maya for one kind of control: makes, queries, edits one."""

    def run(name=None, **flags):
        flags = {SHORT.get(flag, flag): value for flag, value in flags.items()}
        if flags.pop("exists", False):
            return name in controls and controls[name].kind == kind
        query, edit = flags.pop("query", False), flags.pop("edit", False)
        for flag, value in flags.items():
            if flag not in FLAGS[kind]:
                raise TypeError(f"Invalid flag '{flag}'")
            if not query and not isinstance(value, FLAGS[kind][flag]):
                raise TypeError(f"{flag}={value!r}")
        if query:
            (flag,) = flags
            return asked(there(name), flag)
        control = there(name) if edit else made(kind, name, flags.pop("parent", None))
        if kind == "optionMenu" and not 1 <= flags.get("select", 1) <= max(1, len(control.children)):
            raise RuntimeError(f"there is no item {flags['select']}")
        control.values.update(flags)
        return control.name

    return run


def made(kind, name, parent):
    name = name or f"{kind}{len(controls) + 1}"
    if name in controls:
        raise RuntimeError(f"Object's name '{name}' is not unique.")
    under = None if kind == "window" else there(parent) if parent else current[0]
    if kind != "window" and under is None:
        raise RuntimeError("no current layout")
    controls[name] = Control(kind, name, under)
    if kind in LAYOUTS:
        current[0] = controls[name]
    return controls[name]


def asked(control, flag):
    if flag == "itemListLong":
        return [child.name for child in control.children] or None
    if control.kind == "optionMenu" and flag == "select":
        # What was chosen may have been deleted since.
        return min(control.values.get("select", 1), len(control.children))
    return control.values[flag]
