"""CGRU's dialog in Clarisse, in a Qt without a display: "Send Job" is pressed. Stand-ins for Clarisse's modules."""

import os
import sys
import types

from PySide6 import QtCore, QtWidgets

# What Qt 5 has, which is Clarisse's.
QtCore.QDateTime.toTime_t = QtCore.QDateTime.toSecsSinceEpoch
qt = types.ModuleType("Qt")
qt.QtCore, qt.QtWidgets = QtCore, QtWidgets
QtWidgets.QIcon = __import__("PySide6.QtGui").QtGui.QIcon
sys.modules["Qt"] = qt


class Image:
    def get_full_name(self):
        return "project://scene/image"

    def get_attribute(self, name):
        return {"save_as": types.SimpleNamespace(get_string=lambda: os.environ["HOME"] + "/out")}[name]


class Application:
    def get_current_project_filename(self):
        return os.environ["HOME"] + "/shot.project"

    def get_current_frame_range(self):
        return (1, 10)

    def get_factory(self):
        return types.SimpleNamespace(get_all_objects=lambda kind, found: found.append(Image()))

    def export_render_archive(self, path):
        with open(path, "w"):
            return True


ix = types.SimpleNamespace(application=Application(), api=types.SimpleNamespace(OfObjectArray=list))
running = types.ModuleType("pyqt_clarisse")
running.exec_ = lambda app: None
sys.modules["pyqt_clarisse"] = running

script = os.path.join(os.environ["CGRU_LOCATION"], "plugins/clarisse/afanasy_submit.py")
namespace = {"ix": ix, "__name__": "__main__"}
with open(script) as source:
    exec(compile(source.read(), script, "exec"), namespace)
namespace["Fields"]["btn_send"].pressed.emit()
print("INFO", namespace["Fields"]["info"].text())
