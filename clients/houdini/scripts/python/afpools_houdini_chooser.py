"""A pool on CGRU's afanasy node in Houdini.

Strategy: the node gets a spare parameter, which keeps the pool's name and is saved with the scene. Its menu is made by
a script whenever it opens, so nothing about machines is saved. The stock script does everything else: its `render` is
wrapped, to see before anything else whether the pool is available, and its `genJob`, which sends the job, to say which
node the job comes from.
"""

from __future__ import annotations

import functools
import inspect
import sys

import hou

from afpools import AfpoolsError
from afpools.cgru import ImportHook
from afpools.chooser import HELP, RENDER_POOL, beside, keep_on, refuse_other_pools
from afpools.client import Client
from afpools.guard import guard
from afpools.job import apply_on_send
from afpools.pool_menu import PoolMenu
from afpools_houdini import POOL, nodes_with_a_pool, pool_of, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from afpools.pool_menu import Menu

_REFRESH = "afpools_refresh"

_MENU = "import afpools_houdini_chooser as ours; return ours.menu_items(hou.pwd())"
_CALL = "import afpools_houdini_chooser as ours; ours.{}(kwargs['node'])"

# The chooser comes below this stock parameter.
_ABOVE = "job_name"

# Our replacements have this attribute.
_OURS = "_afpools"

# What is wrapped, with its arguments. Another CGRU may have changed them.
_KNOWN = {"render": ["afnode"], "BlockParameters.genJob": ["self", "blockparams"]}

_state: Dict[str, Any] = {"pools": None, "chosen": ""}


# --- the node -------------------------------------------------------------------------------------------------------


def _pools() -> PoolMenu:
    if _state["pools"] is None:
        _state["pools"] = PoolMenu()
    pools: PoolMenu = _state["pools"]
    return pools


def add_parms(node: Any) -> None:
    """Adds the parameters for a pool that an afanasy node does not have yet."""
    if node.parm(POOL) is not None:
        return
    python = hou.scriptLanguage.Python
    chooser = hou.StringParmTemplate(
        POOL,
        RENDER_POOL,
        1,
        default_value=("",),
        item_generator_script=_MENU,
        item_generator_script_language=python,
        menu_type=hou.menuType.StringReplace,
        join_with_next=True,
        help=HELP,
        script_callback=_CALL.format("show_beside"),
        script_callback_language=python,
    )
    button = hou.ButtonParmTemplate(
        _REFRESH, "Refresh Pools", script_callback=_CALL.format("refresh"), script_callback_language=python
    )
    group = node.parmTemplateGroup()
    if group.find(_ABOVE) is None:
        group.append(chooser)
    else:
        group.insertAfter(_ABOVE, chooser)
    group.insertAfter(POOL, button)
    node.setParmTemplateGroup(group)


def menu_items(node: Any) -> List[str]:
    """The entries of a node's menu: names and labels in turn. What is wrong comes last; it keeps the node's pool."""
    menu = _pools().current()
    pool = pool_of(node)
    items = [text for choice in menu.choices(pool) for text in choice]
    wrong = " ".join(beside(menu, pool).split("\n"))
    return [*items, pool, wrong] if wrong else items


def show_beside(node: Any) -> None:
    """Shows in Houdini's status line what is wrong with the pool that was chosen."""
    _show(_pools().current(), node)


def refresh(node: Any) -> None:
    """Asks the broker. Does not wait for it: the menu shows the new list when it is opened."""
    _pools().refresh()
    _show(_pools().latest(), node)


def _show(menu: Menu, node: Any) -> None:
    if hou.isUIAvailable():
        hou.ui.setStatusMessage(beside(menu, pool_of(node)), severity=hou.severityType.Warning)


# --- the stock script -----------------------------------------------------------------------------------------------


def _loaded(stock: Any) -> None:
    if hasattr(getattr(stock, "render", None), _OURS):
        return
    for name, arguments in _KNOWN.items():
        found: Any = stock
        for part in name.split("."):
            found = getattr(found, part, None)
        if not inspect.isfunction(found) or inspect.getfullargspec(found).args != arguments:
            guard(f"Afanasy Pools does not know this version of CGRU's afanasy.py ({name}).", nodes_with_a_pool, say)
            return
    stock.render = _rendering(stock, stock.render)
    stock.BlockParameters.genJob = _generating(stock.BlockParameters.genJob)
    apply_on_send(stock.af, lambda: str(_state["chosen"]), Client, warn=_already_said)


def _already_said(_: str) -> None:
    """`render` shows the warning itself."""


def _rendering(stock: Any, original: Any) -> Any:
    @functools.wraps(original)
    def render(afnode: Any) -> Any:
        try:
            # Before anything is changed, saved or run. This job is never sent.
            warning = keep_on(stock.af.Job(), pool_of(afnode))
            made = original(afnode)
        except AfpoolsError as error:
            if not hou.isUIAvailable():
                raise
            say(str(error))
            return None
        if warning:
            say(warning)
        return made

    setattr(render, _OURS, True)
    return render


def _generating(original: Any) -> Any:
    @functools.wraps(original)
    def generate(block: Any, blockparams: Any) -> Any:
        before, _state["chosen"] = _state["chosen"], pool_of(block.afnode)
        try:
            others = ((each.afnode.path(), pool_of(each.afnode)) for each in blockparams)
            refuse_other_pools(block.afnode.path(), pool_of(block.afnode), others)
            return original(block, blockparams)
        except AfpoolsError:
            # The stock script restores the ROPs that it has changed only after a job was sent.
            for each in blockparams:
                each.doPost()
            raise
        finally:
            _state["chosen"] = before

    return generate


ImportHook("afanasy", _loaded).install()
if "afanasy" in sys.modules:
    _loaded(sys.modules["afanasy"])
