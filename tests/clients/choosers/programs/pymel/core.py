"""Stands in for PyMEL: its commands return controls, which are contexts, and take their names."""

import os
from pathlib import Path

import maya


class MayaNodeError(Exception):
    pass


class MayaAttributeError(Exception):
    pass


def command(kind):
    run = maya.command(kind)

    def make(*args, **flags):
        asking = {"q", "query", "exists"} & flags.keys()
        return run(*args, **flags) if asking else maya.there(run(*args, **flags))

    return make


window, columnLayout, rowLayout, text, button, intField, textField, checkBox, radioButtonGrp, separator = map(
    command,
    [
        "window",
        "columnLayout",
        "rowLayout",
        "text",
        "button",
        "intField",
        "textField",
        "checkBox",
        "radioButtonGrp",
        "separator",
    ],
)
optionVar = maya.options


class Node:
    def __init__(self, name, **attributes):
        self._name, self._attributes = name, attributes

    def getAttr(self, name):
        return self._attributes[name]

    def name(self):
        return self._name

    def connections(self, type):
        layers = [Node("defaultRenderLayer"), Node("rs_beauty")]
        for layer in layers:
            layer.renderable = Renderable()
        return layers


class Renderable:
    def get(self):
        return True


class nt:
    RenderLayer = "RenderLayer"


def PyNode(name):
    if name not in ("defaultRenderGlobals", "renderLayerManager"):
        raise MayaNodeError(name)
    return Node(name, currentRenderer="mayaSoftware")


def ls(type):
    return [Node("renderCamShape", renderable=True)]


def deleteUI(control):
    maya.there(getattr(control, "name", control)).delete()


def showWindow(control):
    maya.there(control.name)


def sceneName():
    return os.environ["HOME"] + "/shot.mb"


def workspace(q, rootDirectory):
    return os.environ["HOME"]


def renderSettings(**asked):
    return [os.environ["HOME"] + "/images/masterLayer.0001.exr", os.environ["HOME"] + "/images/masterLayer.0010.exr"]


def saveAs(path, force, type):
    Path(path).touch()


def renameFile(path):
    pass


def playbackOptions(**asked):
    return 1


def PopupError(text):
    raise RuntimeError(text)
