"""What the hook does once a program imports CGRU's module `af`: every job that is sent in it gets its pool.

Strategy: as good as nothing is known about the program. A plug-in of ours that has a chooser comes first, since it
wraps `af.Job.send` after we have, and what it has decided stays. Where the program itself keeps what was chosen, and
our plug-in is not active, `CHOOSERS` reads that.
"""

from __future__ import annotations

import sys

from .cgru import ImportHook
from .choice import WITHOUT
from .client import Client
from .errors import PoolNotApplied
from .job import apply_on_send, log_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict


def _blender_scene() -> str:
    """The pool that is saved with the scene, whether our add-on is active or not."""
    import bpy

    scene = bpy.context.scene
    if hasattr(type(scene), "afpools_pool"):
        return str(scene.afpools_pool)
    # Blender 5 keeps what add-ons have defined apart from what users have.
    system = getattr(scene, "bl_system_properties_get", None)
    kept = scene if system is None else system()
    return str((kept.get("afpools_pool") if kept is not None else None) or "")


CHOOSERS: Dict[str, Callable[[], str]] = {"bpy": _blender_scene}
"""What reads the choice that a program keeps, by the module that is there in this program only."""


def chosen() -> str:
    """What the program itself says of a pool for the job that it is about to send: a pool, `choice.WITHOUT`, or empty
    for nothing."""
    for module, read in CHOOSERS.items():
        if module in sys.modules:
            said = read()
            if said:
                return said
    return ""


def cover(af: Any) -> None:
    """Has every job that is sent through CGRU's `af` get its pool."""
    job: Any = getattr(af, "Job", None)
    if callable(getattr(job, "send", None)):
        apply_on_send(af, chosen, Client)
    elif job is not None:
        log_warning(f"{getattr(af, '__file__', 'af')} is not as CGRU's is: its jobs are sent without pools.")


def import_hook() -> ImportHook:
    """What changes `af` each time Python has run it."""
    hook = ImportHook("af", cover)
    hook.install()
    return hook


__all__ = ["CHOOSERS", "WITHOUT", "PoolNotApplied", "chosen", "cover", "import_hook"]
