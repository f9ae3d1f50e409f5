"""How the farm reads masks, judged by the versions of its renders and by its users: pure functions.

Strategy: fail closed. Afanasy reads `find` masks since 3.4.0; before, it reads every mask as regex, and a `find` mask
admits other renders (measured on 3.3.1). So one render that is older, or whose version cannot be read, is enough to
rule out `find` masks. That includes offline renders, because they may come back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..protocol import Reading
from .farm import Farm, Render

_FIRST_WITH_TYPES = (3, 4, 0)
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){1,3}")

_Version = tuple[int, ...]


@dataclass(frozen=True)
class Engines:
    """What the versions on the farm allow.

    Args:
        no_find: a clause that says why no mask may be given as `find`; empty if it may be.
        all_old: whether every render that reports a version is older than mask types, so that the farm reads all masks
            as regex. If there are both old and new renders, nobody can say how old their afserver is.
    """

    no_find: str = ""
    all_old: bool = False


ANY_ENGINE = Engines()
"""No version rules out `find`, or none is known because there is no afserver to ask."""


def engines_of(renders: Sequence[Render]) -> Engines:
    """What the versions of the farm's renders allow.

    A render that has never been online has no version; it is ignored as long as others have one. A render that is
    online without a version counts as old.
    """
    versions = {engine: _version(engine) for engine in {render.engine for render in renders} if engine}
    silent = min((render.name for render in renders if not render.engine and "online" in render.states), default=None)
    if not versions:
        return Engines("no render of this farm reports which version of Afanasy it runs")
    oldest = min(versions, key=lambda engine: (versions[engine], engine))
    if versions[oldest] < _FIRST_WITH_TYPES:
        name = min(render.name for render in renders if render.engine == oldest)
        all_old = silent is None and all(() < version < _FIRST_WITH_TYPES for version in versions.values())
        if versions[oldest]:
            return Engines(
                f"the render {name!r} runs Afanasy {oldest}, and before 3.4.0 every mask is read as regex", all_old
            )
        return Engines(f"the render {name!r} reports the version {oldest[:40]!r}, which may be older than 3.4.0")
    if silent is not None:
        return Engines(f"the render {silent!r} does not report its version, which may be older than 3.4.0")
    return ANY_ENGINE


def untyped_as(farm: Farm | None, engines: Engines, user: str) -> Reading:
    """How afserver reads the masks of a job that sets no type; `either` if that is unknown.

    Args:
        farm: renders and users; None if there is no afserver.
        engines: what these renders' versions allow.
        user: the job's user; empty if unknown.
    """
    if engines.all_old:
        return "regex"
    if farm is None or farm.regex_users is None:
        return "either"
    if user in farm.regex_users:
        return "regex"
    if engines.no_find:
        return "either"
    # It is not known here whether afserver treats these names as one user.
    may_be_one = user.casefold() in farm.regex_users_folded if user else bool(farm.regex_users)
    return "either" if may_be_one else "find"


def _version(engine: str) -> _Version:
    """Its numbers, at least three; none for a text that is not a version, so that such a text sorts first."""
    if not _VERSION.fullmatch(engine):
        return ()
    numbers = tuple(map(int, engine.split(".")))
    return numbers + (0,) * (3 - len(numbers))
