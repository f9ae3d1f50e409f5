"""Stands in for Natron's module. Accepts the types that Natron's bindings accept, and refuses the others as they do.

Signatures: Natron 2.5's Engine/PyParameter.h and its Python reference.
"""

import os


def need(value, kind):
    if type(value) is not kind:
        raise TypeError(f"called with wrong argument types: {value!r} is no {kind.__name__}")
    return value


class Param:
    def __init__(self, name, value=None):
        self.name, self.value = need(name, str), value

    def getScriptName(self):
        return self.name

    def getValue(self):
        return self.value

    get = getValue

    def setHelp(self, text):
        need(text, str)

    def setEvaluateOnChange(self, on):
        need(on, bool)

    setAnimationEnabled = setAddNewLine = setPersistent = setEvaluateOnChange

    def setEnabled(self, on, dimension=0):
        need(on, bool)
        need(dimension, int)


class StringParam(Param):
    def setValue(self, value):
        self.value = need(value, str)

    setDefaultValue = setValue


class IntParam(Param):
    def setValue(self, value):
        self.value = need(value, int)

    def setDefaultValue(self, value, dimension=0):
        self.setValue(value)


class BooleanParam(Param):
    def setValue(self, value):
        self.value = need(value, bool)

    setDefaultValue = setValue


class ButtonParam(Param):
    pass


class PageParam(Param):
    def addParam(self, param):
        if not isinstance(param, Param):
            raise TypeError(param)


class ChoiceParam(Param):
    """The chosen entry is any number. What is shown stays until another number is set."""

    def __init__(self, name):
        Param.__init__(self, name, 0)
        self.options, self.shown = [], ""

    def setOptions(self, options):
        for pair in need(options, list):
            for text in need(pair, tuple):
                need(text, str)
            if len(pair) != 2 or not pair[0]:
                raise TypeError("an option is a pair, and its name is not empty")
        self.options = options

    def getOption(self, index):
        return self.options[index][0] if 0 <= need(index, int) < len(self.options) else ""

    def setValue(self, value):
        if need(value, int) != self.value or not self.shown:
            self.value, self.shown = value, self.getOption(value)

    set = setValue


class Callback:
    def __init__(self):
        self.called = ""

    def set(self, name):
        self.called = need(name, str)


class UserParamHolder:
    def __init__(self):
        self.params = {}

    def _create(self, kind, name, label, *value):
        need(label, str)
        if name in self.params:
            raise ValueError(f"{name} is there already")
        self.params[name] = kind(name, *value)
        return self.params[name]

    def createStringParam(self, name, label):
        return self._create(StringParam, name, label, "")

    def createIntParam(self, name, label):
        return self._create(IntParam, name, label, 0)

    def createBooleanParam(self, name, label):
        return self._create(BooleanParam, name, label, False)

    def createChoiceParam(self, name, label):
        return self._create(ChoiceParam, name, label)

    def createButtonParam(self, name, label):
        return self._create(ButtonParam, name, label)

    def createPageParam(self, name, label):
        return self._create(PageParam, name, label)

    def getParam(self, name):
        return self.params.get(need(name, str))

    def refreshUserParamsGUI(self):
        pass


class Effect(UserParamHolder):
    def __init__(self, plugin, label):
        UserParamHolder.__init__(self)
        self.plugin, self.label, self.inputs = plugin, label, []
        self.onParamChanged, self.onInputChanged = Callback(), Callback()

    def getPluginID(self):
        return self.plugin

    def getChildren(self):
        return []

    def getLabel(self):
        return self.label

    getScriptName = getLabel

    def getParams(self):
        return list(self.params.values())

    def getInput(self, number):
        return self.inputs[number] if number < len(self.inputs) else None


class PyCoreApplication:
    def __init__(self):
        self.projects = []

    def isBackground(self):
        return "BACKGROUND" in os.environ

    def getNumInstances(self):
        return len(self.projects)

    def getInstance(self, index):
        return self.projects[need(index, int)]


natron = PyCoreApplication()
