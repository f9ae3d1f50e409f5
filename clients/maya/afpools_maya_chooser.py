"""A pool in CGRU's Afanasy window in Maya.

Strategy: the stock window makes itself, and we add a row while it does. The pool is kept in the scene's `fileInfo`, and
`afpools.hook` reads it there for every job that this Maya sends, from whichever of CGRU's windows or scripts. The stock
code saves a temporary scene before it sends; so before that, a job that is never sent is put on the pool.
"""

from __future__ import annotations

import functools
import sys
from urllib.parse import quote

from maya import cmds, utils

from afpools import AfpoolsError
from afpools.cgru import ImportHook
from afpools.chooser import HELP, RENDER_POOL, beside, keep_on
from afpools.hook import chosen, cover, import_hook
from afpools.pool_menu import PoolMenu
from afpools_maya import POOL, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from afpools.pool_menu import Menu

_CHOICE, _BESIDE = "cgru_afanasy__pool", "cgru_afanasy__pool_beside"

# Stock fields; our row comes below the second one.
_HOSTS, _EXCLUDE = "cgru_afanasy__hosts_mask", "cgru_afanasy__hosts_exclude"

# Our replacements have this attribute.
_OURS = "_afpools"

_state: Dict[str, Any] = {"names": [""]}


def install() -> None:
    """Gives CGRU's window a chooser, and every job of this Maya its scene's pool."""
    if "af" in sys.modules:
        cover(sys.modules["af"])
    import_hook()
    ImportHook("afanasy", _loaded).install()
    if "afanasy" in sys.modules:
        _loaded(sys.modules["afanasy"])


# --- the window -----------------------------------------------------------------------------------------------------


def _pools() -> PoolMenu:
    if "menu" not in _state:
        _state["menu"] = PoolMenu(changed=lambda: utils.executeDeferred(_show_latest))
    menu: PoolMenu = _state["menu"]
    return menu


def _add_row() -> None:
    cmds.rowLayout(numberOfColumns=3, adjustableColumn=2, columnWidth3=(140, 50, 60))
    cmds.text(label=f"<b>{RENDER_POOL}</b>")
    cmds.optionMenu(_CHOICE, annotation=HELP, changeCommand=_choose)
    cmds.button(label="Refresh", command=_refresh)
    cmds.setParent("..")
    cmds.text(_BESIDE, label="", align="left", wordWrap=True)
    _show(_pools().current())


def _show(menu: Menu) -> None:
    if not cmds.optionMenu(_CHOICE, exists=True):
        return
    pool = chosen()
    choices = menu.choices(pool)
    for item in cmds.optionMenu(_CHOICE, query=True, itemListLong=True) or []:
        cmds.deleteUI(item)
    for _, label in choices:
        cmds.menuItem(label=label, parent=_CHOICE)
    _state["names"] = [name for name, _ in choices]
    cmds.optionMenu(_CHOICE, edit=True, select=_state["names"].index(pool) + 1)
    cmds.text(_BESIDE, edit=True, label=beside(menu, pool))


def _show_latest() -> None:
    _show(_pools().latest())


def _refresh(*_: Any) -> None:
    """Asks the broker. Does not wait for it."""
    _pools().refresh()
    _show_latest()


def _choose(*_: Any) -> None:
    name = _state["names"][cmds.optionMenu(_CHOICE, query=True, select=True) - 1]
    if name:
        # Maya escapes some characters, and returns them escaped.
        cmds.fileInfo(POOL, quote(name))
    elif cmds.fileInfo(POOL, query=True):
        cmds.fileInfo(remove=POOL)
    cmds.file(modified=True)
    _show(_pools().current())


class _PyMel:
    """PyMEL while the stock window is made."""

    def __init__(self, pm: Any) -> None:
        self._pm = pm
        self._next = False
        self.added = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pm, name)

    def textField(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - PyMEL's own name
        self._next = self._next or args[:1] == (_EXCLUDE,)
        return self._pm.textField(*args, **kwargs)

    def rowLayout(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - PyMEL's own name
        # The row of the exclude mask has ended, so that the column is current.
        if self._next and not self.added:
            self.added = True
            _add_row()
        return self._pm.rowLayout(*args, **kwargs)


# --- the stock package ----------------------------------------------------------------------------------------------


def _loaded(afanasy: Any) -> None:
    ui: Any = getattr(afanasy, "UI", None)
    if not all(hasattr(ui, name) for name in ("show", "launch")) or not hasattr(afanasy, "pm"):
        cmds.warning("Afanasy Pools does not know this version of CGRU's Afanasy window: it has no chooser.")
    elif not hasattr(ui.show, _OURS):
        ui.show, ui.launch = _showing(afanasy, ui.show), _launching(afanasy, ui.launch)


def _showing(afanasy: Any, original: Any) -> Any:
    @functools.wraps(original)
    def show(ui: Any) -> Any:
        pm = afanasy.pm
        afanasy.pm = ours = _PyMel(pm)
        try:
            made = original(ui)
        finally:
            afanasy.pm = pm
        if not ours.added:
            cmds.warning("Afanasy Pools does not know this version of CGRU's Afanasy window: it has no chooser.")
        return made

    setattr(show, _OURS, True)
    return show


def _launching(afanasy: Any, original: Any) -> Any:
    @functools.wraps(original)
    def launch(ui: Any, *args: Any, **kwargs: Any) -> Any:
        if not ui.window:
            return original(ui, *args, **kwargs)
        try:
            warning = keep_on(_job_of_the_window(afanasy), chosen())
            sent = original(ui, *args, **kwargs)
        except AfpoolsError as error:
            say(str(error))
            return None
        if warning:
            say(warning)
        return sent

    return launch


def _job_of_the_window(afanasy: Any) -> Any:
    """A job with the masks of those that the stock window would send."""
    job = afanasy.af.Job("pool")
    job.setHostsMask(afanasy.pm.textField(_HOSTS, query=True, text=True).replace('"', ""))
    job.setHostsMaskExclude(afanasy.pm.textField(_EXCLUDE, query=True, text=True).replace('"', ""))
    return job
