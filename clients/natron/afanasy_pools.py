# -*- coding: utf-8 -*-
"""CGRU's Afanasy node and render dialog in Natron, with a pool to choose.

Strategy: the stock module `afanasy` does everything, and three of its functions are wrapped: the one that makes a job,
so that the job gets the mask of its node's pool before any job is sent; the one that sends, so that the dialog's pool
overrides the node's; and the node's callback. The stock menu reloads that module before each use, so it is wrapped each
time Python has run it.

The node keeps the pool's name in the string parameter `af_pool`: the stock code passes every parameter that begins with
`af_` to the job. The chooser, `afpools_choice`, only shows and sets it.

Written so that Python 2.7 can load it and say that pools need a newer version.
"""

import importlib
import os
import sys

import NatronEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable, Dict, List, Optional

    from NatronEngine import App, Effect, Param

    from afpools.pool_menu import Menu, PoolMenu

TOO_OLD = (
    "Pools need Natron 2.5 or newer: this one has Python {}.{}. The stock entries of the CGRU menu work as before."
)

AS_ON_THE_NODE = "As on the node"

_TEXT, _CHOICE, _REFRESH, _MACHINES = "af_pool", "afpools_choice", "afpools_refresh", "afpools_machines"
_PAGE = "afpools"

# Our replacements for stock functions have this attribute.
_OURS = "_afpools"

_state = {}  # type: Dict[str, Any]


def too_old():
    # type: () -> bool
    """Whether this Natron's Python is too old for the client library. If so, tells the artist."""
    if sys.version_info >= (3, 7):
        return False
    _say(TOO_OLD.format(*sys.version_info[:2]))
    return True


def createNode(app):
    # type: (App) -> Optional[Effect]
    """A new Afanasy node with a pool to choose."""
    if too_old():
        return None
    node = app.createNode("cgru.afanasy")
    if node is None:
        _say("Natron has no node cgru.afanasy. Start it through CGRU.")
        return None
    add_params(node)
    _show_later(app, node, asked=False)
    return node


def renderSelected(app):
    # type: (App) -> None
    """The stock dialog for what is selected, with a pool to choose."""
    if too_old():
        return
    afanasy = stock()
    for node in app.getSelectedNodes():
        if afanasy.isNodeAfanasy(node):
            add_params(node)
    afanasy.renderSelected(_App(app, _pools().current()))


def refresh(app, node):
    # type: (App, Effect) -> None
    """Asks the broker, and shows the list on a node once it has answered. Does not wait for that."""
    _pools().refresh()
    _show_later(app, node, asked=True)


def _show_later(app, node, asked):
    # type: (App, Effect, bool) -> None
    """Shows the list on a node once the broker has answered. `asked`: the artist requested it, and is told of an error.

    Does not wait for the broker.
    """
    from qtpy import QtCore

    name = node.getScriptName()

    def look():
        # type: () -> None
        menu = _pools().latest()
        if menu.refreshing:
            QtCore.QTimer.singleShot(_LOOK, look)
            return
        # Look the node up again: it may have been deleted, and Natron crashes if a deleted node is used.
        for there in app.getChildren():
            if there.getScriptName() == name and there.getParam(_TEXT) is not None:
                show_pools(there, menu)
        if asked and menu.error:
            _say(menu.status())

    look()


# How often to check whether the broker has answered, in milliseconds.
_LOOK = 200


def add_params(node):
    # type: (Effect) -> None
    """Adds the parameters for a pool that an Afanasy node does not have yet."""
    added = []  # type: List[Param]
    if node.getParam(_CHOICE) is None:
        choice = node.createChoiceParam(_CHOICE, "Render Pool")
        choice.setHelp("The job runs on the hosts of this pool only.")
        added.append(choice)
    if node.getParam(_MACHINES) is None:
        machines = node.createStringParam(_MACHINES, "On the Farm")
        machines.setHelp("How many renders of the pool are online, and when that was so. Refresh Pools asks again.")
        machines.setEnabled(False)
        machines.setPersistent(False)
        added.append(machines)
    if node.getParam(_TEXT) is None:
        text = node.createStringParam(_TEXT, "Chosen Pool")
        text.setDefaultValue("")
        added.append(text)
    node.getParam(_TEXT).setHelp("What is saved with the project. Empty for no pool.")
    for param in added:
        param.setEvaluateOnChange(False)
        param.setAnimationEnabled(False)
    if node.getParam(_REFRESH) is None:
        added.insert(1, node.createButtonParam(_REFRESH, "Refresh Pools"))
    if added:
        page = node.getParam(_PAGE) or node.createPageParam(_PAGE, "Pool")
        for param in added:
            page.addParam(param)
        node.refreshUserParamsGUI()
    show_pools(node, _pools().current())


def show_pools(node, menu):
    # type: (Effect, Menu) -> None
    """Puts a list of pools into a node's chooser and selects the node's pool.

    Natron saves user parameters as they are, with a chooser's entries and the help of each, whether persistent or not
    (its GroupKnobSerialization). So an entry does not say which machines are online, because that may have changed when
    the project is opened; the entry's help and the text below the chooser say it, with the time.
    """
    pool = node.getParam(_TEXT).getValue()
    choices = menu.choices(pool, False)
    choice = node.getParam(_CHOICE)
    choice.setOptions([(label, _help(menu, name)) for name, label in choices])
    index = [name for name, _ in choices].index(pool)
    # Natron keeps showing a removed entry until the selected number changes.
    choice.setValue((index + 1) % len(choices))
    choice.setValue(index)
    _show_machines(node, menu)


def _help(menu, name):
    # type: (Menu, str) -> str
    """The tooltip of an entry of the chooser."""
    return "\n".join(filter(None, (menu.dated_label(name), menu.warning(name) or menu.error or menu.notice)))


def _show_machines(node, menu):
    # type: (Effect, Menu) -> None
    machines = node.getParam(_MACHINES)
    # A node from an older version has none until the pools are added to it again.
    if machines is not None:
        machines.setValue(menu.dated_label(node.getParam(_TEXT).getValue()))


# --- the stock module -------------------------------------------------------------------------------------------------


# The stock functions that are wrapped or called, with their arguments. Another CGRU may have changed them.
_KNOWN = {
    "createJob": ["i_app", "i_params"],
    "isNodeAfanasy": ["i_node"],
    "onParamChanged": ["thisParam", "thisNode", "thisGroup", "app", "userEdited"],
    "renderNodes": ["i_app", "i_nodes", "i_params"],
    "renderSelected": ["i_app"],
}


def install():
    # type: () -> None
    """Wraps CGRU's module `afanasy`, now and whenever it is reloaded."""
    import builtins

    if not hasattr(builtins, "reload"):
        # The stock code and menu were written for Python 2.
        setattr(builtins, "reload", importlib.reload)
    from afpools.cgru import ImportHook

    if not any(isinstance(finder, ImportHook) and finder.name == "afanasy" for finder in sys.meta_path):
        # By name: this module may be reloaded.
        ImportHook("afanasy", lambda afanasy: wrap(afanasy)).install()
    wrap(stock())


def stock():
    # type: () -> ModuleType
    """CGRU's module `afanasy`."""
    return importlib.import_module("afanasy")


def wrap(afanasy):
    # type: (Any) -> None
    """Wraps the stock functions, unless that has been done. If they are not as we know them, jobs are not sent as long
    as any node has a pool."""
    import inspect

    if getattr(afanasy.createJob if hasattr(afanasy, "createJob") else None, _OURS, False):
        return
    for name, arguments in _KNOWN.items():
        function = getattr(afanasy, name, None)
        if not inspect.isfunction(function) or inspect.getfullargspec(function).args != arguments:
            guard("Afanasy Pools does not know this version of CGRU's afanasy.py ({}).".format(name))
            return
    for name, around in (("createJob", _creating), ("renderNodes", _rendering), ("onParamChanged", _changing)):
        function = around(getattr(afanasy, name))
        setattr(function, _OURS, True)
        setattr(afanasy, name, function)


def _changing(original):
    # type: (Callable[..., Any]) -> Callable[..., None]
    # Natron calls a function only if its arguments have these names, and none is variadic.
    def onParamChanged(thisParam, thisNode, thisGroup, app, userEdited):
        # type: (Any, Effect, Any, App, bool) -> None
        name = thisParam.getScriptName()
        if name == _CHOICE:
            label = thisParam.getOption(thisParam.getValue()) if userEdited else ""
            if label:
                thisNode.getParam(_TEXT).setValue(_pools().latest().named(label))
                menu = _pools().current()
                _show_machines(thisNode, menu)
                if menu.refreshing:
                    _show_later(app, thisNode, asked=False)
        elif name == _REFRESH:
            refresh(app, thisNode)
        else:
            original(thisParam, thisNode, thisGroup, app, userEdited)

    return onParamChanged


def _creating(original):
    # type: (Callable[..., Any]) -> Callable[..., Any]
    def createJob(i_app, i_params):
        # type: (Any, Dict[str, Any]) -> Any
        from afpools.choice import decide

        chosen = i_params.get(_TEXT) or ""
        pool = decide(chosen)
        _refuse_other_pools(i_params, i_params, pool)
        made = original(i_app, i_params)
        if made is not None:
            _settle(made["job"], chosen)
        return made

    return createJob


def _refuse_other_pools(top, params, pool):
    # type: (Dict[str, Any], Dict[str, Any], str) -> None
    """Checks that the blocks of all nodes upstream are on the job's pool. Raises `AfpoolsError` if one has another."""
    from afpools import AfpoolsError
    from afpools.choice import Standing

    for child in params.get("childs", ()):
        if child.get(_TEXT) and Standing().resolve(child[_TEXT]) != pool:
            raise AfpoolsError(
                "Nothing was sent: {!r} is on the pool {!r}, but its job is that of {!r}, which is on {}. Choose one "
                "pool for both.".format(
                    child["nodelabel"], child[_TEXT], top["nodelabel"], repr(pool) if pool else "none"
                )
            )
        _refuse_other_pools(top, child, pool)


def _settle(job, chosen):
    # type: (Any, str) -> None
    """Puts the pool on a job that will be sent, and keeps what there is to warn of."""
    from afpools.chooser import keep_on

    _state.setdefault("warnings", []).append(keep_on(job, chosen))


def _rendering(original):
    # type: (Callable[..., Any]) -> Callable[..., Any]
    def renderNodes(i_app, i_nodes, i_params=None):
        # type: (Any, Any, Optional[Dict[str, Any]]) -> Any
        from afpools import AfpoolsError

        _state["warnings"] = []
        try:
            if isinstance(i_app, _App):
                chosen = i_app.chosen()
                if chosen is not None:
                    i_params = dict(i_params or {})
                    i_params[_TEXT] = chosen
            sent = original(i_app, i_nodes, i_params)
        except AfpoolsError as error:
            if NatronEngine.natron.isBackground():
                raise
            _say(str(error))
            return None
        _warn(_state["warnings"])
        return sent

    return renderNodes


def _warn(warnings):
    # type: (List[str]) -> None
    """Shows what jobs that were sent will wait for, each reason once."""
    text = "\n".join(sorted(set(filter(None, warnings))))
    if text:
        _say(text, "warningDialog")


def guard(why):
    # type: (str) -> None
    """From now on, jobs are sent only as long as no node of any open project has a pool."""
    try:
        import af
    except ImportError:
        # Nothing can be sent without CGRU's modules.
        return
    original = af.Job.send
    if hasattr(original, _OURS):
        return

    def send(job, *args, **kwargs):
        # type: (Any, *Any, **Any) -> Any
        nodes = []  # type: List[str]
        for number in range(NatronEngine.natron.getNumInstances()):
            app = NatronEngine.natron.getInstance(number)
            if app is not None:
                _collect_pools(app, nodes)
        if nodes:
            message = "{} The job was not sent, because a pool is chosen on: {}.".format(why, ", ".join(nodes))
            _say(message)
            raise RuntimeError(message)
        return original(job, *args, **kwargs)

    setattr(send, _OURS, True)
    setattr(af.Job, "send", send)


def _collect_pools(group, found):
    # type: (Any, List[str]) -> None
    for node in group.getChildren():
        param = node.getParam(_TEXT)
        if param is not None and param.getValue():
            found.append("{} ({})".format(node.getLabel(), param.getValue()))
        _collect_pools(node, found)


class _App(object):
    """Natron's App for one run of the stock dialog, which also asks for a pool."""

    def __init__(self, app, menu):
        # type: (App, Menu) -> None
        self._app = app
        self._menu = menu
        self._choice = None  # type: Any

    def __getattr__(self, name):
        # type: (str) -> Any
        return getattr(self._app, name)

    def createModalDialog(self):
        # type: () -> Any
        dialog = self._app.createModalDialog()
        self._choice = dialog.createChoiceParam(_CHOICE, "Render Pool")
        self._choice.setOptions([(label, self._menu.status()) for label in self._options()])
        self._choice.setAnimationEnabled(False)
        return dialog

    def _options(self):
        # type: () -> List[str]
        return [AS_ON_THE_NODE] + [label for _, label in self._menu.choices()]

    def chosen(self):
        # type: () -> Optional[str]
        """The pool that overrides the node's: None for the node's own, empty for no pool."""
        if self._choice is None:
            return None
        label = self._choice.getOption(self._choice.getValue())
        if not label:
            from afpools import AfpoolsError

            raise AfpoolsError(
                "Nothing was sent: the dialog's answer to the question for the pool is not one of the pools."
            )
        return None if label == AS_ON_THE_NODE else self._menu.named(label)


# --- what is made once ------------------------------------------------------------------------------------------------


def _say(message, dialog="errorDialog"):
    # type: (str, str) -> None
    """An error or a warning, in a dialog if there is a window."""
    if NatronEngine.natron.isBackground():
        print(message)
    else:
        import NatronGui

        getattr(NatronGui.natron, dialog)("Afanasy Pools", message)


def _pools():
    # type: () -> PoolMenu
    if "menu" not in _state:
        from afpools.pool_menu import PoolMenu

        _state["menu"] = PoolMenu()
    return _state["menu"]  # type: ignore[no-any-return]


def _add_library():
    # type: () -> None
    """Makes `afpools` importable. It is where Natron does not look for plug-ins: Natron runs every Python file in the
    folders it knows, and puts each folder on the path."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(os.path.dirname(os.path.dirname(here)), "natron_afpools")
    for folder in (installed, os.path.dirname(here)):
        if os.path.isdir(os.path.join(folder, "afpools")) and folder not in sys.path:
            sys.path.insert(0, folder)
            return


if sys.version_info >= (3, 7):
    _add_library()
    install()
else:
    guard("Pools need Natron 2.5 or newer.")
