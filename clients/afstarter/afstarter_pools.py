#!/usr/bin/env python3
"""CGRU's AfStarter with a "Render Pool" chooser in its Job tab.

Strategy: run the stock script unchanged, except that three methods of its class `Dialog` are wrapped before the script
makes its window. They add one line of widgets, and put our afjob_pools.py instead of afjob.py into the command when a
pool is chosen; the mask is fetched when the job is sent. If the script or its window is not a version we know, there is
no chooser, and it runs unchanged.
"""

from __future__ import annotations

import ast
import os
import sys
from typing import Any, Dict, List, Optional

from afjob_pools import HERE, POOL_VARIABLE, add_library, stock_afjob

add_library()

from afpools.cgru import why_dropped  # noqa: E402
from afpools.choice import WITHOUT, from_environment  # noqa: E402
from afpools.pool_menu import Menu, PoolMenu  # noqa: E402

# How often the window checks whether the list of pools has arrived, in milliseconds.
_LOOK = 250

# The name of the field that holds the chosen pool; AfStarter saves it with its other fields.
_FIELD = "afpools_pool"

# What the environment says, before it is changed for a program that sends a job.
_VARIABLE = from_environment()


class Unexpected(Exception):
    """This version of AfStarter is not known."""


def run(path: str) -> None:
    """Runs AfStarter with the chooser, or without it if that is not possible."""
    with open(path, encoding="utf-8") as file:
        script = ast.parse(file.read(), path)
    namespace: Dict[str, Any] = {"__name__": "__main__", "__file__": path, "__builtins__": __builtins__}
    ends = [number for number, node in enumerate(script.body, 1) if getattr(node, "name", "") == "Dialog"]
    # First everything up to the class, then our changes to it, then the code that makes the window.
    head, tail = (script.body[: ends[0]], script.body[ends[0] :]) if ends else ([], script.body)
    _execute(head, path, namespace)
    try:
        if not ends:
            raise Unexpected("it has no class Dialog")
        add_pools(namespace["Dialog"], PoolMenu())
    except Unexpected as error:
        complain(error)
    _execute(tail, path, namespace)


def _execute(nodes: List[ast.stmt], path: str, namespace: Dict[str, Any]) -> None:
    module = ast.Module(body=nodes)  # type: ignore[call-arg]
    module.type_ignores = []  # Python 3.8 and newer require it, 3.7 does not know it
    # Without this file's imports from __future__.
    code = compile(module, path, "exec", dont_inherit=True)
    exec(code, namespace)  # noqa: S102 - Python would do the same


def complain(error: Unexpected) -> None:
    """Says why there is no chooser."""
    print(
        f"AfStarter runs without pools: {error}. Afanasy Pools does not know this version of AfStarter.",
        file=sys.stderr,
    )


def add_pools(dialog: Any, pools: PoolMenu) -> None:
    """Gives AfStarter's window a chooser.

    The class itself is changed: if a subclass had its name, `super(Dialog, self)` in it would find the subclass.

    Args:
        dialog: the class `Dialog` of the stock script.
        pools: what to choose from.

    Raises:
        Unexpected: the class is not the one we know. It was not changed.
    """
    for method in ("load", "evaluateCmd", "start"):
        if not callable(getattr(dialog, method, None)):
            raise Unexpected(f"its class Dialog has no method {method}")
    # Otherwise the window would show our command but run its own, and the job would go to every host.
    if not {"evaluateCmd", "toPlainText"} <= set(getattr(getattr(dialog.start, "__code__", None), "co_names", ())):
        raise Unexpected("it does not start the command that it shows")
    stock_init, stock_load, stock_evaluate = dialog.__init__, dialog.load, dialog.evaluateCmd
    stock_start = dialog.start

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.chooser = None
        self.chooser_tried = False
        stock_init(self, *args, **kwargs)
        add_chooser(self)

    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The last settings are loaded while the window is made, so the field must exist by then.
        add_chooser(self)
        return stock_load(self, *args, **kwargs)

    def add_chooser(self: Any) -> None:
        if self.chooser_tried:
            return
        self.chooser_tried = True
        try:
            self.chooser = make_chooser(self, pools)
        except Unexpected as error:
            complain(error)
            self.setWindowTitle(self.windowTitle() + "   (without pools: unknown version of AfStarter)")

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> None:
        stock_evaluate(self, *args, **kwargs)
        if self.chooser and self.evaluated:
            send_with(self, self.chooser.pool())

    def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        warning = self.chooser.warning() if self.chooser else ""
        if warning and not send_all_the_same(self, warning):
            return None
        return stock_start(self, *args, **kwargs)

    dialog.__init__, dialog.load, dialog.evaluateCmd, dialog.start = init, load, evaluate, start


def send_with(window: Any, chosen: str) -> None:
    """Puts our program into the command of a job with a pool, or says why the job cannot be sent."""
    menu = window.chooser.latest()
    pool = menu.resolve(chosen)
    if not pool:
        # For the hook. The job before this one may have had a pool.
        os.environ[POOL_VARIABLE] = WITHOUT if chosen else _VARIABLE
        if menu.is_missing(chosen):
            refuse(window, menu.refusal(chosen))
        return
    command = str(window.teCmd.toPlainText())
    stock, ours = f'"{stock_afjob()}"', '"{}"'.format(os.path.join(HERE, "afjob_pools.py"))
    typed = (("hosts mask", "hostsmask"), ("exclude mask", "hostsexclude"))
    wrong = [why_dropped(kind, str(window.fields[name].text())) for kind, name in typed if name in window.fields]
    if menu.is_missing(pool):
        refuse(window, f"The pool {pool!r} no longer exists. Choose another one, or none, in the Job tab.")
    elif any(wrong):
        refuse(window, "\n".join(filter(None, wrong)))
    elif command.count(stock) != 1:
        refuse(
            window,
            f"The job cannot be kept on the pool {pool!r}: {stock} is not in the command. Afanasy Pools "
            "does not know this version of AfStarter. You can send the job without a pool.",
        )
    else:
        # Not as an argument: AfStarter quotes nothing, and a pool's name may have any characters.
        os.environ[POOL_VARIABLE] = pool
        window.teCmd.setText(command.replace(stock, ours))


def refuse(window: Any, why: str) -> None:
    """Says why a job cannot be sent, in the place of the command."""
    window.evaluated = False
    window.bStart.setEnabled(False)
    window.teCmd.setText(why)


def send_all_the_same(window: Any, warning: str) -> bool:
    """Asks whether to send a job to a pool that cannot run it now. Does not wait for the network."""
    from Qt import QtWidgets

    buttons = QtWidgets.QMessageBox.StandardButton
    question = f"{warning}\n\nSend it anyway?"
    answer = QtWidgets.QMessageBox.question(window, "Render Pool", question, buttons.Yes | buttons.No, buttons.No)
    return bool(answer == buttons.Yes)


def job_tab(window: Any) -> Any:
    """The tab that the chooser goes into.

    Raises:
        Unexpected: there is no such tab, or the window lacks what we rely on.
    """
    from Qt import QtWidgets

    fields, command = getattr(window, "fields", None), getattr(window, "teCmd", None)
    if not isinstance(fields, dict) or not isinstance(fields.get("hostsexclude"), QtWidgets.QLineEdit):
        raise Unexpected("its window has no field for an exclude mask")
    if not isinstance(command, QtWidgets.QTextEdit) or not hasattr(window, "bStart"):
        raise Unexpected("its window does not show the command")
    tabs = window.findChild(QtWidgets.QTabWidget)
    titles = [tabs.tabText(number) for number in range(tabs.count())] if tabs else []
    if "Job" not in titles or tabs.widget(titles.index("Job")).layout() is None:
        raise Unexpected("its window does not have a tab Job")
    return tabs.widget(titles.index("Job"))


def make_chooser(window: Any, pools: PoolMenu) -> Chooser:
    """Adds the line of widgets to the Job tab.

    Raises:
        Unexpected: there is no such tab, or the window lacks what we rely on.
    """
    tab = job_tab(window)
    try:
        chooser = Chooser(window, pools)
        tab.layout().addWidget(chooser.widget)
    except Exception as error:
        raise Unexpected(f"the chooser cannot be made in it ({error!r})") from error
    window.fields[_FIELD] = chooser.field
    return chooser


def _choices(parent: Any, pools: PoolMenu) -> Any:
    """A combo box that checks for a newer list whenever somebody opens it."""
    from Qt import QtWidgets

    class Choices(QtWidgets.QComboBox):
        def showPopup(self) -> None:  # noqa: N802 - Qt's own name
            # The popup shows the current list; a newer one appears the next time.
            pools.current()
            QtWidgets.QComboBox.showPopup(self)

    return Choices(parent)


class Chooser:
    """The line of widgets: a label, the pools, a button, and below them a status line.

    Args:
        window: AfStarter's. It keeps the chooser.
        pools: what to choose from.
    """

    def __init__(self, window: Any, pools: PoolMenu) -> None:
        from Qt import QtCore, QtWidgets

        self._window, self._pools = window, pools
        self.shown: Optional[Menu] = None
        # Whether the list was new enough to say which machines are online, and did not have the chosen pool.
        self.shows_counts = self.shows_missing = False
        self.widget = QtWidgets.QWidget()
        # AfStarter saves and loads the texts of its fields. If the saved pool is not in the list, a combo box would
        # fall back to its first entry, no pool.
        self.field = QtWidgets.QLineEdit(self.widget)
        self.field.hide()
        self.choices = _choices(self.widget, pools)
        self.status = QtWidgets.QLabel(self.widget)
        self._refresh = QtWidgets.QPushButton("Refresh Pools", self.widget)
        self._lay_out()
        self._refresh.clicked.connect(self.refresh)
        self.choices.activated.connect(self.chosen)
        self.field.textChanged.connect(self.show_again)
        self.timer = QtCore.QTimer(self.widget)
        self.timer.timeout.connect(self.look)
        self.timer.start(_LOOK)
        self.show_menu(pools.current())

    def _lay_out(self) -> None:
        from Qt import QtCore, QtWidgets

        policy = QtWidgets.QSizePolicy.Policy
        self.widget.setSizePolicy(policy.Preferred, policy.Maximum)
        self.choices.setSizePolicy(policy.Expanding, policy.Fixed)
        self.choices.setAccessibleName("Render Pool")
        self.status.setWordWrap(True)
        self.status.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        line = QtWidgets.QHBoxLayout()
        line.addWidget(QtWidgets.QLabel("Render Pool:", self.widget))
        line.addWidget(self.choices)
        line.addWidget(self._refresh)
        both = QtWidgets.QVBoxLayout(self.widget)
        both.setContentsMargins(0, 0, 0, 0)
        both.addLayout(line)
        both.addWidget(self.status)

    def pool(self) -> str:
        return str(self.field.text())

    def latest(self) -> Menu:
        return self._pools.latest()

    def warning(self) -> str:
        """What to ask before a job is sent. A missing pool is refused without a question."""
        menu = self.latest()
        return "" if menu.is_missing(self.pool()) else menu.warning(self.pool())

    def refresh(self) -> None:
        self._pools.refresh()
        self.look()

    def look(self) -> None:
        # An entry that somebody is about to choose must not move.
        menu = self._pools.latest()
        same = menu is self.shown and menu.counts_hold() == self.shows_counts
        if same or self.choices.view().isVisible():
            return
        missing = self.shows_missing
        self.show_menu(menu)
        # Only if needed: the field of the command may be showing the outcome of the last job.
        if missing != self.shows_missing:
            self._window.evaluate()

    def chosen(self, number: int) -> None:
        self.field.setText(self.choices.itemData(number))
        self._window.evaluate()

    def show_again(self) -> None:
        self.show_menu(self._pools.latest())

    def show_menu(self, menu: Menu) -> None:
        from Qt import QtCore, QtGui

        self.shown, self.shows_counts = menu, menu.counts_hold()
        self.shows_missing = menu.is_missing(self.pool())
        self.choices.clear()
        for name, label in menu.choices(self.pool()):
            self.choices.addItem(label, name)
        names = [self.choices.itemData(number) for number in range(self.choices.count())]
        shown = names.index(self.pool())
        if self.shows_missing:
            self.choices.setItemData(shown, QtGui.QColor("#d03030"), QtCore.Qt.ItemDataRole.ForegroundRole)
        self.choices.setCurrentIndex(shown)
        status = "\n".join(filter(None, (menu.warning(self.pool()), menu.status())))
        self.status.setText(status)
        self.status.setVisible(bool(status))


if __name__ == "__main__":
    location = os.environ.get("CGRU_LOCATION")
    if not location:
        sys.exit("CGRU_LOCATION is not set. Start this from CGRU's Keeper, or after its setup.sh.")
    stock_script = os.path.join(location, "utilities", "afstarter", "afstarter.py")
    if not os.path.isfile(stock_script):
        sys.exit(f"{stock_script} does not exist, so there is no AfStarter to run.")
    sys.argv[0] = stock_script
    # Python would put it there for the script itself.
    sys.path.insert(0, os.path.dirname(stock_script))
    run(stock_script)
