# -*- coding: utf-8 -*-
"""CGRU's Afanasy node and render dialog in Natron, with a pool to choose.

Strategy: the stock module `afanasy` does everything, and three of its functions are wrapped: the one that makes a job,
so that the job knows its node's pool when it is sent; the one that sends, so that the dialog's pool goes before the
node's; and the node's callback. The stock menu reloads that module before each use, so a reload wraps it again.

The node keeps the pool's name as `af_pool`, a text: the stock code hands every parameter that begins with `af_` on to
the job. What one chooses from, `afpools_choice`, only shows and sets it.

Written so that Python 2.7 can read it and say that it cannot do it.
"""

import importlib
import os
import sys

import NatronEngine

TOO_OLD = (
    "Pools need Natron 2.5 or newer: this one has Python {}.{}. The stock entries of the CGRU menu work as before."
)

NO_POOL = "No pool"
AS_ON_THE_NODE = "As on the node"

_TEXT, _CHOICE, _REFRESH = "af_pool", "afpools_choice", "afpools_refresh"

# What we have put into the place of a stock function bears this mark.
_OURS = "_afpools"

_state = {}


def too_old():
    """Whether this Natron's Python cannot run the client library. Says so to the artist."""
    if sys.version_info >= (3, 7):
        return False
    _gui().errorDialog("Afanasy Pools", TOO_OLD.format(*sys.version_info[:2]))
    return True


def createNode(app):
    """A new Afanasy node with a pool to choose."""
    if too_old():
        return None
    stock()
    node = app.createNode("cgru.afanasy")
    if node is None:
        _gui().errorDialog("Afanasy Pools", "Natron has no node cgru.afanasy. Start it through CGRU.")
        return None
    add_params(node)
    return node


def renderSelected(app):
    """The stock dialog for what is selected, with a pool to choose."""
    if too_old():
        return
    afanasy = stock()
    for node in app.getSelectedNodes():
        if afanasy.isNodeAfanasy(node):
            add_params(node)
    afanasy.renderSelected(_App(app, _pools().latest()))


def onParamChanged(thisParam, thisNode, thisGroup, app, userEdited):
    """Called by Natron when a parameter of an Afanasy node has changed."""
    name = thisParam.getScriptName()
    if name == _CHOICE and userEdited:
        thisNode.getParam(_TEXT).setValue(_name(thisParam.getOption(thisParam.getValue())))
    elif name == _REFRESH:
        _pools().refresh()
        show_pools(thisNode, _pools().wait(_SECOND))
    else:
        stock().onParamChanged(thisParam, thisNode, thisGroup, app, userEdited)


# How long a press of the button may wait for the list; after that, the last one is shown. In seconds.
_SECOND = 1.0


def add_params(node):
    """Gives an Afanasy node the parameters for a pool, if it does not have them."""
    if node.getParam(_TEXT) is None:
        page = node.createPageParam("afpools", "Pool")
        choice = node.createChoiceParam(_CHOICE, "Render Pool")
        choice.setHelp("The job runs on the hosts of this pool only.")
        button = node.createButtonParam(_REFRESH, "Refresh Pools")
        text = node.createStringParam(_TEXT, "Chosen Pool")
        text.setHelp("What is saved with the project. Empty for no pool.")
        text.setDefaultValue("")
        for param in (choice, text):
            param.setEvaluateOnChange(False)
            param.setAnimationEnabled(False)
        for param in (choice, button, text):
            page.addParam(param)
        node.refreshUserParamsGUI()
    node.onParamChanged.set("afanasy_pools.onParamChanged")
    show_pools(node, _pools().current())


def show_pools(node, menu):
    """Puts a list of pools into a node's chooser, standing at the node's pool."""
    pool = node.getParam(_TEXT).getValue()
    labels = [NO_POOL] + _labels(menu, pool)
    choice = node.getParam(_CHOICE)
    choice.setOptions([(label, menu.status()) for label in labels])
    names = [""] + [_name(label) for label in labels[1:]]
    choice.setValue(names.index(pool))


def _labels(menu, chosen=""):
    """The pools as they are shown, the chosen one among them whether it is there or not."""
    labels = ["{} ({} host{})".format(pool.name, pool.hosts, "" if pool.hosts == 1 else "s") for pool in menu.pools]
    if chosen and menu.find(chosen) is None:
        labels.append("{} ({})".format(chosen, "not checked yet" if menu.fetched is None else "missing"))
    return labels


def _name(label):
    """The pool's name in what is shown of it."""
    return label.rpartition(" (")[0]


# --- the stock module -------------------------------------------------------------------------------------------------


def stock():
    """CGRU's module `afanasy`, wrapped. Every call sees to it that it still is."""
    import builtins

    if not hasattr(builtins, "reload"):
        # The stock code and menu are Python 2's.
        builtins.reload = importlib.reload
    if not getattr(builtins.reload, _OURS, False):
        builtins.reload = _marked(_reloading(builtins.reload))
    return wrap(importlib.import_module("afanasy"))


def wrap(afanasy):
    """Puts our functions around the stock ones, those that are not wrapped yet."""
    for name, around in (("createJob", _creating), ("renderNodes", _rendering)):
        function = getattr(afanasy, name)
        if not getattr(function, _OURS, False):
            setattr(afanasy, name, _marked(around(function)))
    return afanasy


def _marked(function):
    setattr(function, _OURS, True)
    return function


def _reloading(original):
    def reload(module):
        module = original(module)
        return wrap(module) if module.__name__ == "afanasy" else module

    return reload


def _creating(original):
    def createJob(i_app, i_params):
        made = original(i_app, i_params)
        pool = i_params.get(_TEXT)
        if made is not None and pool:
            _send_with(made["job"], pool)
        return made

    return createJob


def _send_with(job, pool):
    """Makes a job fetch its mask when it is sent."""
    from afpools import AfpoolsError, Client, PoolNotApplied
    from afpools.job import apply_pool

    original = job.send

    def send(*args, **kwargs):
        try:
            with Client() as client:
                apply_pool(job, pool, client)
        except AfpoolsError as error:
            refused = error if isinstance(error, PoolNotApplied) else PoolNotApplied(pool, error)
            # The stock code shows a message of its own after this one, and stops.
            _gui().errorDialog("Afanasy Pools", str(refused))
            return False, None
        return original(*args, **kwargs)

    job.send = send


def _rendering(original):
    def renderNodes(i_app, i_nodes, i_params=None):
        if isinstance(i_app, _App):
            chosen = i_app.chosen()
            if chosen is not None:
                i_params = dict(i_params or {})
                i_params[_TEXT] = chosen
        return original(i_app, i_nodes, i_params)

    return renderNodes


class _App(object):
    """Natron's App for one run of the stock dialog, which asks for a pool as well."""

    def __init__(self, app, menu):
        self._app = app
        self._menu = menu
        self._choice = None

    def __getattr__(self, name):
        return getattr(self._app, name)

    def createModalDialog(self):
        dialog = self._app.createModalDialog()
        self._choice = dialog.createChoiceParam(_CHOICE, "Render Pool")
        self._choice.setOptions([(label, self._menu.status()) for label in self._options()])
        self._choice.setAnimationEnabled(False)
        return dialog

    def _options(self):
        return [AS_ON_THE_NODE, NO_POOL] + _labels(self._menu)

    def chosen(self):
        """The pool that goes before the node's: None for the node's own, empty for none."""
        number = self._choice.getValue() if self._choice is not None else 0
        return None if number == 0 else "" if number == 1 else _name(self._choice.getOption(number))


# --- what is made once ------------------------------------------------------------------------------------------------


def _gui():
    return sys.modules["NatronGui"].natron if "NatronGui" in sys.modules else NatronEngine.natron


def _pools():
    if "menu" not in _state:
        from afpools.pool_menu import PoolMenu

        _state["menu"] = PoolMenu()
    return _state["menu"]


def _add_library():
    """Makes `afpools` importable. It lies where Natron does not look for plug-ins: Natron runs every Python file in the
    folders it knows, and puts each of them on the path."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(os.path.dirname(os.path.dirname(here)), "natron_afpools")
    for folder in (installed, os.path.dirname(here)):
        if os.path.isdir(os.path.join(folder, "afpools")) and folder not in sys.path:
            sys.path.insert(0, folder)
            return


if sys.version_info >= (3, 7):
    _add_library()
    if not NatronEngine.natron.isBackground():
        # The list is there by the time somebody opens a dialog.
        _pools().current()
        # Projects have nodes with pools, and the stock entries send them as well.
        stock()
