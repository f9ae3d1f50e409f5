"""A pool on CGRU's afanasy node in Nuke.

Strategy: the stock scripts do everything. Two of their classes and one function are replaced by ours that call them:
the classes remember which node a job or block comes from, and a finished job is put on its node's pool at once.

The knob `afpools_pool` keeps the pool's name, and is saved with the script. The chooser only shows and sets it.
"""

from __future__ import annotations

import functools
import inspect
import sys

import nuke

from afpools import AfpoolsError
from afpools.cgru import ImportHook
from afpools.chooser import HELP, RENDER_POOL, about, keep_on, refuse_other_pools
from afpools.guard import guard
from afpools.pool_menu import PoolMenu
from afpools_nuke import NODE, POOL, nodes_with_a_pool, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from afpools.pool_menu import Menu

_TAB, _CHOICE, _MACHINES, _REFRESH = "afpools", "afpools_choice", "afpools_machines", "afpools_refresh"

# Our replacements have this attribute.
_OURS = "_afpools"

# What is replaced, with its arguments. Another CGRU may have changed them.
_KNOWN = {
    "JobParameters.__init__": ["self", "afnode", "jobname", "blocks", "fparams"],
    "JobParameters.genJob": ["self", "i_scene_path"],
    "BlockParameters.__init__": ["self", "afnode", "wnode", "subblock", "prefix", "fparams"],
    "renderNodes": ["nodes", "fparams", "storeframes"],
}

_state: Dict[str, Any] = {"showing": False, "warnings": []}


def install() -> None:
    """Gives every afanasy node a chooser, and its jobs their pool."""
    nuke.addOnCreate(_created, nodeClass=NODE)
    nuke.addKnobChanged(_knob_changed, nodeClass=NODE)
    ImportHook("cgru", _loaded).install()
    if "cgru" in sys.modules:
        _loaded(sys.modules["cgru"])


# --- the node -------------------------------------------------------------------------------------------------------


def _pools() -> PoolMenu:
    if "menu" not in _state:
        _state["menu"] = PoolMenu(changed=lambda: nuke.executeInMainThread(show_everywhere))
    menu: PoolMenu = _state["menu"]
    return menu


def _current() -> Menu:
    # A render on the farm opens the script too, and nobody looks at its nodes.
    return _pools().current() if nuke.GUI else _pools().latest()


def _created() -> None:
    add_knobs(nuke.thisNode())


def add_knobs(node: Any) -> None:
    """Adds the knobs for a pool that an afanasy node does not have yet."""
    added: List[Any] = []
    if node.knob(_TAB) is None:
        added.append(nuke.Tab_Knob(_TAB, "Pool"))
    if node.knob(_CHOICE) is None:
        added.append(nuke.Enumeration_Knob(_CHOICE, RENDER_POOL, []))
    if node.knob(_REFRESH) is None:
        added.append(
            nuke.PyScript_Knob(_REFRESH, "Refresh Pools", "import afpools_nuke_chooser; afpools_nuke_chooser.refresh()")
        )
    if node.knob(_MACHINES) is None:
        added.append(nuke.Text_Knob(_MACHINES, "On the Farm", ""))
    if node.knob(POOL) is None:
        added.append(nuke.String_Knob(POOL, "Chosen Pool", ""))
    for knob in added:
        node.addKnob(knob)
    node.knob(_CHOICE).setTooltip(HELP)
    node.knob(POOL).setTooltip("What is saved with the script. Empty for no pool.")
    show_pools(node, _current())


def show_pools(node: Any, menu: Menu) -> None:
    """Puts a list of pools into a node's chooser and selects the node's pool.

    Nuke saves the entries of a user's chooser, so they do not say which machines are online; the text below it does,
    with the time.
    """
    pool = node.knob(POOL).value()
    choices = menu.choices(pool, False)
    modified = nuke.modified()
    _state["showing"] = True
    try:
        node.knob(_CHOICE).setValues([label for _, label in choices])
        node.knob(_CHOICE).setValue([name for name, _ in choices].index(pool))
        node.knob(_MACHINES).setValue(about(menu, pool))
    finally:
        _state["showing"] = False
        nuke.modified(modified)


def show_everywhere() -> None:
    """Shows the newest list on every node."""
    for node in nuke.allNodes(NODE, nuke.root(), recurseGroups=True):
        if node.knob(POOL) is not None:
            show_pools(node, _pools().latest())


def refresh() -> None:
    """Asks the broker. Does not wait for it."""
    _pools().refresh()
    show_everywhere()


def _knob_changed() -> None:
    if _state["showing"]:
        return
    node, knob = nuke.thisNode(), nuke.thisKnob()
    if node.knob(POOL) is None:
        return
    if knob.name() == _CHOICE:
        node.knob(POOL).setValue(_pools().latest().named(knob.value()))
    if knob.name() in (_CHOICE, POOL, "showPanel"):
        show_pools(node, _current())


# --- the stock scripts ----------------------------------------------------------------------------------------------


def _loaded(cgru: Any) -> None:
    stock = sys.modules.get("cgru.afanasy")
    if stock is None or hasattr(stock.renderNodes if hasattr(stock, "renderNodes") else None, _OURS):
        return
    for name, arguments in _KNOWN.items():
        found: Any = stock
        for part in name.split("."):
            found = getattr(found, part, None)
        if not inspect.isfunction(found) or inspect.getfullargspec(found).args != arguments:
            guard(f"Afanasy Pools does not know this version of CGRU's afanasy.py ({name}).", nodes_with_a_pool, say)
            return
    _wrap(cgru, stock)


def _wrap(cgru: Any, stock: Any) -> None:
    class BlockParameters(stock.BlockParameters):  # type: ignore[misc]
        """The stock class, which remembers its afanasy node."""

        def __init__(self, afnode: Any, *others: Any) -> None:
            self.afpools_node = afnode
            super().__init__(afnode, *others)

    class JobParameters(stock.JobParameters):  # type: ignore[misc]
        """The stock class, whose job gets its node's pool."""

        def __init__(self, afnode: Any, *others: Any) -> None:
            self.afpools_node = afnode
            super().__init__(afnode, *others)

        def genJob(self, i_scene_path: str) -> Any:  # noqa: N802 - CGRU's own name
            job = super().genJob(i_scene_path)
            if job is not None:
                _keep(job, self.afpools_node, [block.afpools_node for block in self.blocksparameters])
            return job

    original = stock.renderNodes

    @functools.wraps(original)
    def render_nodes(nodes: Any, fparams: Any, storeframes: Any) -> Any:
        _state["warnings"] = []
        try:
            sent = original(nodes, fparams, storeframes)
        except AfpoolsError as error:
            if not nuke.GUI:
                raise
            say(str(error))
            return None
        warning = "\n".join(dict.fromkeys(filter(None, _state["warnings"])))
        if warning:
            say(warning)
        return sent

    setattr(render_nodes, _OURS, True)
    stock.BlockParameters, stock.JobParameters, stock.renderNodes = BlockParameters, JobParameters, render_nodes
    # The package has everything of its modules under its own name too.
    cgru.BlockParameters, cgru.JobParameters, cgru.renderNodes = BlockParameters, JobParameters, render_nodes


def _keep(job: Any, afnode: Any, of_blocks: List[Any]) -> None:
    """Puts a job on the pool of its node. A Write node that is sent by itself has none of its own."""
    name = afnode.name() if afnode is not None else "none"
    others = ((node.name(), _pool_of(node)) for node in of_blocks if node is not None)
    refuse_other_pools(name, _pool_of(afnode), others)
    _state["warnings"].append(keep_on(job, _pool_of(afnode)))


def _pool_of(afnode: Any) -> str:
    knob = afnode.knob(POOL) if afnode is not None else None
    return str(knob.value()) if knob is not None else ""
