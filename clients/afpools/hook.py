"""What the hook does when a program imports CGRU's module `af`: every job that it sends gets its pool.

Strategy: assume nothing about the program. A plug-in of ours that has a chooser wraps `af.Job.send` after the hook, so
it decides first, and the hook leaves its decision alone. If our plug-in is not active, `CHOOSERS` read what the
program's own file says.
"""

from __future__ import annotations

import sys

from .cgru import ImportHook
from .client import Client
from .job import apply_on_send, log_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict


def _blender_scene(bpy: Any) -> str:
    """The pool that is saved with the current scene, whether our add-on is active or not."""
    scene = bpy.context.scene
    if hasattr(type(scene), "afpools_pool"):
        return str(scene.afpools_pool)
    # Blender 5 stores the properties of add-ons separately from those of users.
    of_add_ons = getattr(scene, "bl_system_properties_get", None)
    kept = of_add_ons() if of_add_ons is not None else scene
    return str((kept.get("afpools_pool") if kept is not None else None) or "")


def _maya_scene(cmds: Any) -> str:
    """The pool that is saved with the current scene, quoted, because Maya escapes some characters itself."""
    # Without a Maya that has been started, the module is empty.
    kept = cmds.fileInfo("afpools_pool", query=True) if hasattr(cmds, "fileInfo") else None
    if not kept:
        return ""
    from urllib.parse import unquote

    return unquote(str(kept[0]))


CHOOSERS: Dict[str, Callable[[Any], str]] = {"bpy": _blender_scene, "maya.cmds": _maya_scene}
"""For each program, by a module that only this program has: a function that gets the module and returns what the
program says about the pool of the job that is being sent."""


def chosen() -> str:
    """What the program says: a pool, `choice.WITHOUT`, or an empty string if it says nothing."""
    said = (read(sys.modules[module]) for module, read in CHOOSERS.items() if module in sys.modules)
    return next(filter(None, said), "")


def cover(af: Any) -> None:
    """From now on, every job that is sent through CGRU's `af` gets its pool."""
    job: Any = getattr(af, "Job", None)
    if callable(getattr(job, "send", None)):
        apply_on_send(af, chosen, Client)
    elif job is not None:
        log_warning(f"{getattr(af, '__file__', 'af')} has no Job.send as CGRU's has: jobs are sent without a pool.")


def import_hook() -> ImportHook:
    """Hooks `af` each time Python runs it. The finder is already in `sys.meta_path`."""
    hook = ImportHook("af", cover)
    hook.install()
    return hook
