"""Finds CGRU's own add-on, which may be enabled before ours, after it, repeatedly, or never, and hooks into it.

Strategy: Blender does not report that an add-on was enabled, so `attach` is called whenever Blender has started or
loaded a file, a pool is chosen, or the render properties are drawn; it costs two look-ups when there is nothing to do.
A job that is sent before any of these is still kept on its pool by the hook on `af`, which works without `attach`.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import bpy
from bpy.app.handlers import persistent

from . import session, submission
from .afpools.choice import decide
from .afpools.errors import AfpoolsError, PoolNotApplied

_hook: Optional[submission.SendHook] = None
_draw: Any = None


class _Attached:
    """What we changed in one of CGRU's classes, and how to undo it."""

    def __init__(self) -> None:
        self.cls: Any = None
        self.undo: Optional[Callable[[], None]] = None

    def let_go(self) -> None:
        if self.undo is not None:
            self.undo()
        self.cls = self.undo = None


_panel, _operator = _Attached(), _Attached()


def find_panel() -> Any:
    """CGRU's panel, None if there is none. Blender knows it by its `bl_idname`."""
    return getattr(bpy.types, "CGRU_props", None) or getattr(bpy.types, "RENDER_PT_Afanasy", None)


def find_operator() -> Any:
    """The class behind `cgru.submit`, None if there is none."""
    return getattr(bpy.types, "CGRU_OT_submit", None)


def attach() -> bool:
    """Puts the chooser into CGRU's panel and the check before its operator, unless they are already there.

    Returns:
        Whether there was anything to do.
    """
    panel, operator = find_panel(), find_operator()
    done = False
    if panel is not _panel.cls:
        done = True
        _panel.let_go()
        _panel.cls = panel
        if panel is not None:
            panel.prepend(_draw)
            _panel.undo = lambda: panel.remove(_draw)
    if operator is not _operator.cls:
        done = True
        _operator.let_go()
        _operator.cls = operator
        if operator is not None:
            _operator.undo = submission.wrap_execute(operator, _before_submit, session.refusal)
    return done


def panel_found() -> bool:
    return _panel.cls is not None


def operator_found() -> bool:
    """Whether the check runs before CGRU's operator."""
    return _operator.undo is not None


def _before_submit(operator: Any, context: Any) -> None:
    try:
        pool = decide(context.scene.afpools_pool, session.otherwise)
    except AfpoolsError as error:
        raise PoolNotApplied("", error) from error
    if not pool:
        return
    assert _hook is not None
    # CGRU's own names; a later version may not have them.
    settings = getattr(context.scene, "cgru", None)
    hosts, exclude = (getattr(settings, name, "") for name in ("hostsmask", "hostsmaskexclude"))
    warning = submission.check(_hook, pool, session.now.client, hosts, exclude)
    if warning:
        operator.report({"WARNING"}, warning)


def _later() -> None:
    # Once, after Blender has started: it enables add-ons one after another, perhaps CGRU's after ours.
    attach()


@persistent
def _loaded(*_file: Any) -> None:
    attach()


def register(draw: Callable[[Any, Any], None]) -> None:
    """
    Args:
        draw: draws the chooser into a panel of CGRU's, given the panel and the context.
    """
    global _hook, _draw
    _draw = draw
    _hook = submission.SendHook(session.chosen, session.now.client, session.otherwise)
    _hook.install()
    attach()
    bpy.app.handlers.load_post.append(_loaded)
    bpy.app.timers.register(_later, first_interval=0.0)


def unregister() -> None:
    global _hook
    if bpy.app.timers.is_registered(_later):
        bpy.app.timers.unregister(_later)
    if _loaded in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_loaded)
    _operator.let_go()
    _panel.let_go()
    if _hook is not None:
        _hook.remove()
        _hook = None
