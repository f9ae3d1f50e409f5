"""Stands in for Maya's commands."""

import maya
from maya import command

rowLayout, text, button = command("rowLayout"), command("text"), command("button")
optionMenu, menuItem = command("optionMenu"), command("menuItem")


def deleteUI(name):
    maya.there(name).delete()


def setParent(where):
    if where != "..":
        raise RuntimeError(where)
    maya.current[0] = maya.current[0].parent


def about(**what):
    if what != {"batch": True}:
        raise TypeError(what)
    return maya.BATCH


def confirmDialog(title, message, button):
    if not all(isinstance(text, str) for text in (title, message, *button)):
        raise TypeError(message)
    maya.said.append(message)
    return button[0]


def warning(text):
    maya.warnings.append(text)


def fileInfo(*pair, query=False, remove=None):
    if not all(isinstance(text, str) and text.isascii() and '"' not in text for text in pair):
        raise TypeError(pair)
    if query:
        (name,) = pair
        return [maya.scene[name]] if name in maya.scene else []
    if remove is not None:
        del maya.scene[remove]
    else:
        name, maya.scene[name] = pair
    return None


def file(modified):
    if modified is not True:
        raise TypeError(modified)
