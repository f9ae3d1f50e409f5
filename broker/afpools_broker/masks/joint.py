"""Joins a pool's exclude mask with one that the job already has: pure functions.

Strategy: the two masks are put side by side in a dialect that can express both, and the text is read back as afserver
would read it before it is returned. What the job's own mask excludes is worked out first, so that it is known what the
joint mask must do. A mask that afserver would silently ignore is refused, because it would take the pool's fence down
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from ..protocol import Code, Dialect, Reading, RequestRefused
from . import ecmascript
from .check import LOOKS_LIKE_REGEX
from .exclude import ACCEPT_REGEX, LENGTH_LIMIT, Mask, MaskProofError, anything, find_parts, hosts_found, hosts_matched
from .prefix_tree import escape


@dataclass(frozen=True)
class _Own:
    """The job's own mask.

    Args:
        excluded: the pool's hosts that it excludes; hosts outside the pool are excluded anyway.
        as_find: its text as `find`, None if `find` cannot express it.
        as_regex: its text as `regex`.
    """

    excluded: set[str]
    as_find: str | None
    as_regex: str


def _in_turn(mask: Mask, accept: Sequence[Dialect]) -> list[Dialect]:
    """The pool's own dialect first; then the other, in case the first cannot express the job's mask."""
    dialects: list[Dialect] = [mask.type] if mask.type != "any" else ["find", "regex"]
    return dialects + [dialect for dialect in accept if dialect not in dialects]


def _refuse_nul(own: str) -> None:
    """
    Raises:
        RequestRefused: `bad_request`: afserver would not see the pool's mask.
    """
    if "\0" in own:
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"The job's own exclude mask, {_cut(own)}, contains a NUL character, which ends the mask for afserver: it "
            "would not see the pool's mask. Remove that character.",
        )


def _meant(theirs: _Own, own: str, inside: Collection[str], hosts: Sequence[str]) -> set[str]:
    """The hosts that both masks together must exclude.

    Raises:
        RequestRefused: `empty_pool`: that is all of them.
    """
    meant = theirs.excluded.union(hosts).difference(set(inside) - theirs.excluded)
    if len(meant) == len(hosts):
        raise RequestRefused(
            Code.EMPTY_POOL,
            f"The job's own exclude mask, {_cut(own)}, leaves none of the pool's {len(inside):,} hosts. "
            "Shorten that mask, or choose another pool.",
        )
    return meant


def joined(
    mask_in: Callable[[tuple[Dialect, ...]], Mask],
    own: str,
    reading: Reading,
    *,
    inside: Collection[str],
    known: Collection[str],
    accept: Sequence[Dialect],
    no_find: str = "",
    max_bytes: int = LENGTH_LIMIT,
) -> Mask:
    """The exclude mask that keeps a job off every host outside the pool, and off those that its own mask excludes.

    Args:
        mask_in: makes the pool's mask in one of the given dialects, as `masks.exclude_mask_within`.
        own: the job's own exclude mask; not empty.
        reading: how afserver reads it. `either` is for a job that sets no type: a host that either reading excludes is
            excluded, because nobody can tell which was meant.
        inside, known: the pool's hosts, as the farm spells them, and all known hosts.
        accept: the mask types the caller can set.
        no_find: as `masks.exclude_mask_within`.
        max_bytes: the longest that both masks together may be.

    Raises:
        RequestRefused: `bad_request` for a mask that afserver would not compile, or not read to its end; `empty_pool`
            if the two masks leave no host; `mask_not_expressible`.
        MaskProofError: a bug in this package.
    """
    _refuse_nul(own)
    mask = mask_in(tuple(accept))
    hosts = sorted({*known, *inside})
    theirs = _read(own, reading, sorted(inside))
    meant = _meant(theirs, own, inside, hosts)
    why, advice = "the job's mask is a regex, and the caller can set find only", "Shorten that mask."
    for dialect in _in_turn(mask, accept):
        if dialect == "find" and no_find:
            if "regex" not in accept:
                why, advice = no_find, ACCEPT_REGEX
            continue
        if dialect not in accept or (dialect == "find" and theirs.as_find is None):
            continue
        try:
            pools = mask if mask.type in (dialect, "any") else mask_in((dialect,))
        except RequestRefused as refusal:
            why = refusal.message
            continue
        joint = _side_by_side(pools, dialect, theirs)
        if (size := len(joint.text.encode())) > max_bytes:
            why = f"together the two masks take {size:,} bytes, and {max_bytes:,} are allowed"
            continue
        try:
            return _proven(joint, dialect, meant, hosts)
        except ecmascript.NotJudged as error:
            why = f"the broker cannot tell what the two masks do together ({error})"
        except ecmascript.NotCompiled as error:
            why = f"afserver could not compile the two masks together ({error})"
    raise RequestRefused(
        Code.MASK_NOT_EXPRESSIBLE,
        f"The pool's mask cannot be joined with the job's own exclude mask, {_cut(own)}: {why}. {advice}",
    )


def _read(own: str, reading: Reading, hosts: Sequence[str]) -> _Own:
    """What the job's own mask does to the pool's hosts."""
    found = hosts_found(own, hosts)
    prefixes = f"(?:{'|'.join(map(escape, find_parts(own)))}){anything(hosts)}"
    if reading == "find":
        return _Own(found, own, prefixes)
    try:
        matched = hosts_matched(own, hosts)
    except ecmascript.NotCompiled as error:
        if reading == "either":
            return _Own(found, own, prefixes)
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"afserver could not compile the job's own exclude mask, {_cut(own)}: {error}. It would ignore that mask "
            "and the pool's mask with it. Correct the mask, or leave it empty.",
        ) from None
    except ecmascript.NotJudged as error:
        raise RequestRefused(
            Code.BAD_REQUEST,
            f"The broker cannot tell what the job's own exclude mask, {_cut(own)}, does: {error}. So it cannot join it "
            "with the pool's. Rewrite the mask, or leave it empty.",
        ) from None
    if reading == "regex":
        return _Own(matched, None, f"(?:{own})")
    # Plain names: every host that they match as regex begins with them, so find covers both readings, later hosts
    # included.
    if matched <= found and not LOOKS_LIKE_REGEX.search(own):
        return _Own(found, own, prefixes)
    return _Own(found | matched, None, f"(?:{own})|{prefixes}")


def _side_by_side(pools: Mask, dialect: Dialect, theirs: _Own) -> Mask:
    own = theirs.as_find if dialect == "find" else theirs.as_regex
    assert own is not None
    text = "|".join(filter(None, (own, f"(?:{pools.text})" if dialect == "regex" and pools.text else pools.text)))
    return replace(pools, text=text, type=dialect)


def _proven(mask: Mask, dialect: Dialect, meant: set[str], hosts: Sequence[str]) -> Mask:
    """The mask, read back as afserver would read it.

    Raises:
        ecmascript.NotCompiled: it needs more states than std::regex allows.
        ecmascript.NotJudged: its meaning cannot be worked out here.
        MaskProofError: it does not mean what it should.
    """
    excluded = hosts_found(mask.text, hosts) if dialect == "find" else hosts_matched(mask.text, hosts)
    if excluded != meant:
        wrong = ", ".join(map(repr, sorted(excluded ^ meant)[:10]))
        raise MaskProofError(f"The joint {dialect} mask {_cut(mask.text)} did not pass its proof: wrong about {wrong}.")
    return replace(mask, pool_hosts=len(hosts) - len(meant), excluded_hosts=len(meant))


def _cut(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:197] + "…")
