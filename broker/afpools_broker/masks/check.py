"""What somebody else's exclude mask does on this farm, and what may be wrong with it.

Strategy: afserver accepts any mask, shows it, and silently ignores what it cannot compile. So the mask is read here as
afserver would read it, and every effect that tends to surprise people becomes a sentence. If the effect is unknown, the
answer says so: a check that guesses is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..farm.engines import Engines
from ..protocol import Dialect
from . import ecmascript
from .exclude import LENGTH_LIMIT, beginning_with, find_parts, hosts_found, hosts_matched
from .matching import may_explode

# Characters that are unlikely in a host name; a regex almost certainly has one of them.
LOOKS_LIKE_REGEX = re.compile(r"[\\^$*+?()\[\]{}]|\.$")

_AS_MANY_EXAMPLES = 5


@dataclass(frozen=True)
class Checked:
    """What a mask does.

    Args:
        compiles: whether afserver could compile it; None if that is unknown.
        excluded: the hosts that the mask excludes; None if that is unknown. Empty if the mask does not compile.
        warnings: sentences, the most serious first.
    """

    compiles: bool | None
    excluded: frozenset[str] | None
    warnings: tuple[str, ...]


def check(pattern: str, dialect: Dialect, hosts: Collection[str], engines: Engines | None = None) -> Checked:
    """Reads an exclude mask as afserver would, on these hosts.

    Args:
        pattern: the job's `hosts_mask_exclude`.
        dialect: the job's `hosts_mask_type`; `find` if the job has none and its user sets none.
        hosts: names as the farm spells them.
        engines: what the versions on the farm can read; None if unknown.
    """
    known = sorted(set(hosts))
    warnings: list[str] = []
    if "\0" in pattern:
        pattern = pattern.partition("\0")[0]
        warnings.append(f"It contains a NUL character, which ends the mask for afserver: it reads only {pattern!r}.")
    excluded: set[str] | None
    compiles: bool | None
    try:
        excluded, compiles = _read(pattern, dialect, known), True
    except ecmascript.NotCompiled as error:
        excluded, compiles = set(), False
        warnings.append(
            f"afserver cannot compile this: {error}. It accepts the mask anyway, and the job runs on every host."
        )
    except ecmascript.NotJudged as error:
        excluded, compiles = None, None
        warnings.append(f"The broker cannot tell what this does: {error}. Try it on a harmless job.")
    if not find_parts(pattern):
        warnings.append("The mask is empty to afserver, so the job runs on every host.")
    elif dialect == "find":
        warnings += _about_find(pattern, known)
        if engines is not None and engines.no_find:
            reads = "reads no mask" if engines.all_old else "may not read this"
            warnings.insert(0, f"This farm {reads} as find: {engines.no_find}.")
    elif compiles:
        warnings += _about_regex(pattern, known, excluded or set(), engines)
    if compiles and find_parts(pattern):
        warnings += _about_effect(pattern, dialect, known, excluded or set())
    return Checked(compiles, None if excluded is None else frozenset(excluded), tuple(warnings))


def _read(pattern: str, dialect: Dialect, known: Sequence[str]) -> set[str]:
    return hosts_found(pattern, known) if dialect == "find" else hosts_matched(pattern, known)


def _about_find(pattern: str, known: Sequence[str]) -> list[str]:
    warnings = []
    if LOOKS_LIKE_REGEX.search(pattern):
        warnings.append(
            "This looks like a regex, but a mask of the type find has no special characters: "
            "set hosts_mask_type to regex, or write the beginnings of names."
        )
    for part in sorted(set(find_parts(pattern))):
        found = beginning_with(part, known)
        if len(found) > 1 and found[0] == part:
            warnings.append(f"{part!r} excludes {_some(found[1:])} too, because find goes by the beginning of a name.")
    return warnings


def _untyped(engines: Engines | None) -> str:
    if engines is None or engines.no_find:
        return "Without it the mask may be read"
    return "Without it this farm reads the mask, unless the job's user is set to regex,"


def _about_regex(pattern: str, known: Sequence[str], excluded: set[str], engines: Engines | None) -> list[str]:
    warnings = []
    if may_explode(ecmascript.parse(pattern)):
        warnings.append(
            "A repetition within a repetition, like (a+)+, can keep afserver busy for minutes with one name. "
            "Rewrite the expression without it."
        )
    # What happens in a job that sets no type, or whose submitter cannot set one.
    otherwise = hosts_found(pattern, known)
    if otherwise != excluded and not (engines is not None and engines.all_old):
        too_many, missing = sorted(otherwise - excluded), sorted(excluded - otherwise)
        effects = [f"excludes {_some(too_many)} too"] * bool(too_many)
        effects += [f"does not exclude {_some(missing)}"] * bool(missing)
        warnings.append(
            f"It needs hosts_mask_type regex. {_untyped(engines)} as find, and then it {' and '.join(effects)}."
        )
    return warnings


def _about_effect(pattern: str, dialect: Dialect, known: Sequence[str], excluded: set[str]) -> list[str]:
    warnings = []
    lowered = sorted({host.lower() for host in known})
    if known and len(excluded) == len(known):
        warnings.append("It excludes every host: the job would wait forever.")
    if excluded and not LOOKS_LIKE_REGEX.search(pattern):
        names = find_parts(pattern) if dialect == "find" else pattern.split("|")
        in_vain = [name for name in names if name != name.lower() and not _read(name, dialect, known)]
        if misspelt := [name for name in in_vain if _read(name.lower(), dialect, lowered)]:
            warnings.append(f"Masks are case-sensitive: {_some(misspelt)} would exclude hosts only in lower case.")
    if known and not excluded:
        hint = ""
        if pattern.lower() != pattern and "\\" not in pattern and _read(pattern.lower(), dialect, lowered):
            hint = " In lower case it would: masks are case-sensitive."
        warnings.append(f"It excludes no host of this farm.{hint}")
    if len(pattern.encode()) > LENGTH_LIMIT:
        warnings.append(
            f"With more than {LENGTH_LIMIT:,} bytes the mask does not fit into a command line on Windows, "
            "which is how AfStarter passes it."
        )
    return warnings


def _some(hosts: Sequence[str]) -> str:
    """A few of the names, and how many more there are."""
    if not hosts:
        return "no host"
    named = ", ".join(map(repr, hosts[:_AS_MANY_EXAMPLES]))
    more = len(hosts) - _AS_MANY_EXAMPLES
    return f"{named} and {more:,} more" if more > 0 else named
