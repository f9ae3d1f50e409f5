"""What every plug-in must know about CGRU's own Python: which masks it drops, and when its modules are loaded.

Strategy: nothing of CGRU's is imported here. It is passed in, or waited for.
"""

from __future__ import annotations

import re
import sys

from .errors import AfpoolsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def set_masks(job: Any, hosts_mask: str, exclude_mask: str = "") -> None:
    """Gives a job the masks that an artist typed, through CGRU's own setters. Leaves an empty one alone, as the stock
    submitters do.

    Args:
        job: an `af.Job`.
        hosts_mask: the hosts that it may run on.
        exclude_mask: those that it may not.

    Raises:
        AfpoolsError: CGRU dropped one of them: `af` prints that and still sends the job, to every host.
    """
    masks = (("hosts mask", hosts_mask, "hosts_mask"), ("exclude mask", exclude_mask, "hosts_mask_exclude"))
    for (kind, mask, key), put in zip(masks, (job.setHostsMask, job.setHostsMaskExclude)):
        if mask:
            put(mask)
            if job.data.get(key) != mask:
                raise AfpoolsError(_dropped(kind, mask))


def why_dropped(kind: str, mask: str) -> str:
    """Why CGRU would drop a mask on a command line, in a sentence; empty if it would not. The rule is that of
    `af.checkRegExp` in CGRU 3.4.1.

    Args:
        kind: what to call it in the sentence, such as "exclude mask".
        mask: as typed, empty for none.
    """
    try:
        re.compile(mask)
    except re.error:
        return _dropped(kind, mask)
    return ""


def _dropped(kind: str, mask: str) -> str:
    return f"CGRU cannot read the {kind} {mask!r}, and would send the job without it. Correct it, or leave it empty."


class ImportHook:
    """Calls a function with a module each time Python has run it, no matter who imports or reloads it, or when.

    A finder (PEP 451) that lets the other finders find the module.

    Args:
        name: the module's; it must not be in a package.
        loaded: called with the module.

    Attributes:
        name: the same.
    """

    def __init__(self, name: str, loaded: Callable[[Any], object]) -> None:
        self.name = name
        self._loaded = loaded
        self._looking = False

    def install(self) -> None:
        # First, because a finder before us would return the module unchanged.
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Called by Python's import system."""
        if name != self.name or path is not None or self._looking:
            return None
        self._looking = True
        try:
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                spec = None if finder is self or find is None else find(name, path, target)
                if spec is not None:
                    break
            else:
                return None
        finally:
            self._looking = False
        if hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, self._loaded)
        return spec


class _Loader:
    """The module's own loader, followed by our call."""

    def __init__(self, loader: Any, loaded: Callable[[Any], object]) -> None:
        self._loader = loader
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        self._loaded(module)
