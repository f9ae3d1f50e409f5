"""CGRU's plug-in in Cinema 4D: its command is executed, and "Start Render" pressed in its dialog, with a stand-in for
`c4d` whose fields refuse what is not theirs."""

import os
import sys
import types
from pathlib import Path

c4d = types.ModuleType("c4d")
gui, plugins = types.ModuleType("c4d.gui"), types.ModuleType("c4d.plugins")
registered = []


class GeDialog:
    _values: dict

    def Open(self, kind, defaultw, defaulth):
        self._values = {}
        if not self.CreateLayout() or not self.InitValues():
            raise RuntimeError("no dialog")
        # BUTTON_RENDER of the script.
        self.Command(1302, None)
        return True

    def SetTitle(self, title):
        pass

    def Close(self):
        pass

    TabGroupBegin = GroupBegin = AddStaticText = AddEditText = AddEditSlider = AddCheckbox = AddButton = (
        lambda self, number, *args, **kwargs: int(number)
    )

    def GroupEnd(self):
        pass

    def SetReal(self, number, value, min, max):
        if not isinstance(value, (int, float)):
            raise TypeError(value)
        self._values[number] = float(value)

    def SetString(self, number, value):
        if not isinstance(value, str):
            raise TypeError(value)
        self._values[number] = value

    def SetBool(self, number, value):
        self._values[number] = bool(value)

    def GetReal(self, number):
        return self._values[number]

    GetString = GetBool = GetReal


class Time:
    def __init__(self, frame):
        self._frame = frame

    def GetFrame(self, fps):
        return self._frame


class Document:
    def GetMinTime(self):
        return Time(1)

    def GetMaxTime(self):
        return Time(10)

    def GetFps(self):
        return 25

    def GetDocumentName(self):
        return "shot.c4d"

    def GetDocumentPath(self):
        return os.environ["HOME"]


gui.GeDialog, gui.MessageDialog = GeDialog, lambda text: print("MESSAGE", text)
plugins.CommandData = object
plugins.RegisterCommandPlugin = lambda id, str, icon, help, info, dat: registered.append(dat)
c4d.gui, c4d.plugins, c4d.bitmaps = gui, plugins, types.ModuleType("c4d.bitmaps")
c4d.BFH_SCALEFIT = c4d.BFH_LEFT = c4d.BFH_FIT = c4d.BFH_SCALE = c4d.TAB_TABS = c4d.DLG_TYPE_MODAL = 0
c4d.OBJECT_GENERATOR = 0
sys.modules.update({"c4d": c4d, "c4d.gui": gui, "c4d.plugins": plugins})

script = Path(os.environ["CGRU_LOCATION"], "plugins/c4d/scripts/python/RenderOnFarm.pyp")
exec(compile(script.read_text(), str(script), "exec"), {"__name__": "RenderOnFarm"})
registered[0].Execute(Document())
