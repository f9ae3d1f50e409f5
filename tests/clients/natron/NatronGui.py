"""Stands in for Natron's module for its window."""

import NatronEngine


class PyGuiApplication(NatronEngine.PyCoreApplication):
    def __init__(self):
        super().__init__()
        self.menu, self.messages = {}, []

    def addMenuCommand(self, grouping, function, key=None, modifiers=None):
        self.menu[NatronEngine.need(grouping, str)] = NatronEngine.need(function, str)

    def errorDialog(self, title, message):
        NatronEngine.need(title, str)
        self.messages.append(NatronEngine.need(message, str))

    warningDialog = errorDialog


natron = PyGuiApplication()


class PyModalDialog(NatronEngine.UserParamHolder):
    def __init__(self, answer):
        NatronEngine.UserParamHolder.__init__(self)
        self.answer = answer

    def exec_(self):
        return self.answer(self)


class GuiApp:
    """A project: its nodes, the selected ones, and what the artist answers to the next dialog."""

    def __init__(self):
        self.nodes, self.selected, self.answer = [], [], lambda dialog: False

    def createNode(self, plugin, version=-1, group=None):
        node = NatronEngine.Effect(plugin, plugin.rpartition(".")[2] + str(len(self.nodes) + 1))
        self.nodes.append(node)
        return node

    def getChildren(self):
        return self.nodes

    def getSelectedNodes(self):
        return self.selected

    def createModalDialog(self):
        return PyModalDialog(lambda dialog: self.answer(dialog))

    def timelineGetLeftBound(self):
        return 1

    def timelineGetRightBound(self):
        return 10

    def getProjectParam(self, name):
        values = {"projectName": "shot.ntp", "projectPath": "/jobs", "projectPaths": ""}
        return NatronEngine.StringParam(name, values[name])

    def saveTempProject(self, path):
        NatronEngine.need(path, str)
        return True
