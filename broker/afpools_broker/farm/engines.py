"""How the farm reads masks, told from the versions that its renders say and from its users: pure functions.

Strategy: fail closed. Afanasy reads `find` masks since 3.4.0; before, it reads every mask as regex, and a `find` mask
lets other renders in (measured on 3.3.1). So one render that is older, or whose version cannot be read, is enough for
no `find` mask to be given, offline ones included: they may come back.
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
        no_find: a clause that says why no mask may be given as `find`; empty where it may.
        all_old: whether every render that says a version is older than mask types are, so that the farm reads all
            masks as regex. Of a farm with both, nobody can say how old its afserver is.
    """

    no_find: str = ""
    all_old: bool = False


ANY_ENGINE = Engines()
"""Where no version stands against `find`, or none is known because there is no afserver to ask."""


def engines_of(renders: Sequence[Render]) -> Engines:
    """What the farm's renders say.

    A render that has never been online has no version; it counts for nothing as long as others have one. One that is
    online without a version counts as old.
    """
    versions = {engine: _version(engine) for engine in {render.engine for render in renders} if engine}
    silent = min((render.name for render in renders if not render.engine and "online" in render.states), default=None)
    if not versions:
        return Engines("no render of this farm says which version of Afanasy it runs")
    oldest = min(versions, key=lambda engine: (versions[engine], engine))
    if versions[oldest] < _FIRST_WITH_TYPES:
        name = min(render.name for render in renders if render.engine == oldest)
        all_old = silent is None and all(() < version < _FIRST_WITH_TYPES for version in versions.values())
        if versions[oldest]:
            return Engines(
                f"the render {name!r} runs Afanasy {oldest}, and before 3.4.0 every mask is read as regex", all_old
            )
        return Engines(f"the render {name!r} says {oldest[:40]!r} for its version, which may be older than 3.4.0")
    if silent is not None:
        return Engines(f"the render {silent!r} does not say its version, which may be older than 3.4.0")
    return ANY_ENGINE


def untyped_as(farm: Farm | None, engines: Engines, user: str) -> Reading:
    """How the masks of a job are read that says no type; `either` where nobody can say.

    Args:
        farm: renders and users; None if there is no afserver.
        engines: of these renders.
        user: whose job it is; empty where that is not known.
    """
    if engines.all_old:
        return "regex"
    if farm is None or farm.regex_users is None:
        return "either"
    if user in farm.regex_users:
        return "regex"
    if engines.no_find:
        return "either"
    # Whether afserver takes these for one user is not known here.
    may_be_one = user.casefold() in farm.regex_users_folded if user else bool(farm.regex_users)
    return "either" if may_be_one else "find"


def _version(engine: str) -> _Version:
    """Its numbers, at least three; none for a text that is not a version, so that it sorts before all that are."""
    if not _VERSION.fullmatch(engine):
        return ()
    numbers = tuple(map(int, engine.split(".")))
    return numbers + (0,) * (3 - len(numbers))
