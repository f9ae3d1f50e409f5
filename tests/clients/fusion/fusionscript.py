"""Stands in for Fusion's module, for one script in a separate process. Refuses what Fusion would refuse.

The answers to the dialogs come as JSON in $ANSWERS, one a dialog, null for Cancel; an answer `{"pick": "fx"}` for a
drop-down is the place of the first option that begins so. What was shown goes to standard output.
"""

import json
import os

CONTROLS = {"Text", "Slider", "Checkbox", "Dropdown"}
answers = json.loads(os.environ["ANSWERS"])


class Tool:
    def __init__(self, name):
        self.attributes = {"TOOLS_Name": name, "TOOLB_PassThrough": False}

    def GetAttrs(self, name):
        return self.attributes[name]

    def SetAttrs(self, changes):
        self.attributes.update(changes)


class Composition:
    def __init__(self):
        self.savers = {1.0: Tool("Saver 1"), 2.0: Tool("Saver 2")}

    def GetAttrs(self):
        return {"COMPS_FileName": os.environ["COMP"], "COMPN_RenderStartTime": 1.0, "COMPN_RenderEndTime": 10.0}

    def GetToolList(self, selected, kind):
        assert (selected, kind) == (False, "Saver")
        return self.savers

    def Save(self, path=None):
        print("SAVED " + (path or ""))
        return True

    def AskUser(self, title, dialog):
        if not isinstance(dialog, dict) or sorted(dialog) != list(range(1, len(dialog) + 1)):
            raise TypeError(f"a dialog is a table of questions, counted from 1, not {dialog!r}")
        given = {}
        for question in dialog.values():
            if not isinstance(question, dict) or not isinstance(question.get(1), str):
                raise TypeError(f"a question has its name at 1: {question!r}")
            if question.get(2) not in CONTROLS:
                raise TypeError(f"there is no control {question.get(2)!r}")
            given[question[1]] = self.default(question)
        print("ASKED " + json.dumps({question[1]: question.get("Default") for question in dialog.values()}))
        print("OPTIONS " + json.dumps([list(q["Options"].values()) for q in dialog.values() if "Options" in q]))
        answer = answers.pop(0)
        if answer is None:
            return None
        for name, value in answer.items():
            if name not in given:
                raise KeyError(f"the dialog does not ask for {name}")
            if isinstance(value, dict):
                options = next(q["Options"] for q in dialog.values() if q[1] == name)
                value = next(n - 1 for n, text in options.items() if text.startswith(value["pick"]))
            given[name] = float(value) if isinstance(value, int) else value
        return given

    def default(self, question):
        value = question.get("Default", 0)
        if question[2] == "Dropdown":
            options = question.get("Options")
            if not isinstance(options, dict) or sorted(options) != list(range(1, len(options) + 1)):
                raise TypeError("the options of a drop-down are a table, counted from 1")
            if not isinstance(value, int) or not 0 <= value < len(options):
                raise ValueError(f"a drop-down of {len(options)} options cannot stand at {value!r}")
        if question[2] == "Text":
            return str(value)
        return float(value)


class Fusion:
    composition = Composition()

    def GetCurrentComp(self):
        return self.composition


def scriptapp(name):
    assert name == "Fusion"
    return Fusion()
