"""Run inside AfStarter's process, in place of an artist: does what its arguments say, prints what can be seen.

Arguments: the launcher; then steps, each a verb with what it needs after `=`.
"""

from __future__ import annotations

import gc
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from PySide6 import QtTest
from Qt import QtCore, QtWidgets

launcher, *steps = sys.argv[1:]
sys.argv = [launcher]


def window() -> Any:
    (shown,) = [widget for widget in QtWidgets.QApplication.topLevelWidgets() if hasattr(widget, "teCmd")]
    return shown


def until(true: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        QtWidgets.QApplication.processEvents()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.01)


def seen() -> dict[str, Any]:
    dialog = window()
    chooser = getattr(dialog, "chooser", None)
    return {
        "title": dialog.windowTitle(),
        "command": dialog.teCmd.toPlainText(),
        "can_start": dialog.bStart.isEnabled(),
        "pools": [chooser.choices.itemText(n) for n in range(chooser.choices.count())] if chooser else None,
        "chosen": chooser.choices.currentText() if chooser else None,
        "status": chooser.status.text() if chooser else None,
    }


def act(step: str) -> None:
    verb, _, value = step.partition("=")
    dialog = window()
    if verb == "asked":
        until(lambda: dialog.chooser.shown is not None and not dialog.chooser.shown.refreshing, step)
    elif verb == "refresh":
        dialog.chooser.refresh()
    elif verb == "scene":
        dialog.fields["scenefile"].setText(value)
        dialog.fields["framestart"].setValue(1)
        dialog.fields["frameend"].setValue(3)
        dialog.evaluate()
    elif verb == "exclude":
        dialog.fields["hostsexclude"].setText(value)
        dialog.evaluate()
    elif verb == "choose":
        names = [dialog.chooser.choices.itemData(n) for n in range(dialog.chooser.choices.count())]
        dialog.chooser.choices.setCurrentIndex(names.index(value))
        dialog.chooser.choices.activated.emit(names.index(value))
    elif verb == "choose while a list comes":
        chooser = dialog.chooser
        chooser.choices.showPopup()
        names = [chooser.choices.itemData(n) for n in range(chooser.choices.count())]
        view = chooser.choices.view()
        view.setCurrentIndex(view.model().index(names.index(value), 0))
        chooser.refresh()
        (pools,) = [found for found in gc.get_objects() if type(found).__name__ == "PoolMenu"]
        until(lambda: not pools.latest().refreshing, step)
        chooser.look()
        QtTest.QTest.keyClick(view, QtCore.Qt.Key.Key_Return)
        chooser.look()
    elif verb == "start":
        dialog.start()
        process = getattr(dialog, "process", None)
        if process is not None:
            until(lambda: process.state() == process.ProcessState.NotRunning, step)
            QtWidgets.QApplication.processEvents()
    elif verb == "answer":
        # In place of the artist, in front of a dialog that waits for an answer.
        QtWidgets.QMessageBox.question = lambda _parent, _title, text, *_: (
            print("SEEN " + json.dumps(text)),
            getattr(QtWidgets.QMessageBox.StandardButton, value),
        )[1]
    elif verb == "close":
        dialog.quitsave()
    elif verb == "see":
        print("SEEN " + json.dumps(seen()))
    elif verb == "shoot":
        dialog.findChild(QtWidgets.QTabWidget).setCurrentIndex(1)
        dialog.resize(620, 560)
        QtWidgets.QApplication.processEvents()
        dialog.grab().save(value)
    else:
        raise SystemExit(f"unknown step {step}")


def instead_of_waiting_for_people(*_: Any) -> int:
    for step in steps:
        act(step)
    return 0


QtWidgets.QApplication.exec = instead_of_waiting_for_people
sys.path.insert(0, str(Path(launcher).parent))
runpy.run_path(launcher, run_name="__main__")
