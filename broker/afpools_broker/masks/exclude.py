"""Makes the exclude mask that keeps a job on its pool: pure functions.

Strategy: each style drafts a mask in a dialect that can express it, or says why it cannot. The first draft in the order
of preference that is short enough is chosen. It is not returned until it has been read back as afserver would read it,
and excludes every known host outside the pool and none inside. The drafts come from `prefix_tree`; the reading is done
by `ecmascript` and `hosts_found`, which do not know how drafts are made.

The dialects, measured on CGRU 3.4.1's own afserver: `find` (Afanasy's default since 3.4.0) splits the mask at any of
``|;,: `` and excludes every host whose name *starts with* a part; `regex` is an ECMAScript expression that must match
the whole name, up to a limit of states, beyond which afserver ignores it silently. Both are case-sensitive.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..protocol import COMMAND_LINE_BYTES, MASK_BYTES, Code, Dialect, MaskType, RequestRefused, Style
from . import ecmascript, prefix_tree
from .matching import matching

FIND_SEPARATORS = frozenset("|;,: ")
"""The characters at which afserver splits a `find` mask (af::strSplit). They include no other white space."""

UNFIT_FOR_FIND = FIND_SEPARATORS | set(map(chr, range(0x20))) - set("\n\r\t")
"""Characters that a part of a `find` mask cannot contain: the separators; NUL, where a text ends for afserver; and the
control characters that afserver stores unescaped with the job (af::strEscape), so that it could not read the job back
after a restart. A `regex` writes them as \\x01."""

LENGTH_LIMIT = COMMAND_LINE_BYTES
"""The longest mask in bytes, unless the caller says how it sends the mask. This limit also keeps every regex below
libstdc++'s 100,000 states, because no byte costs more than three. For a longer mask the states are counted."""

SHORT = 4 * 1024
"""The longest `list` or `compact` in bytes that is chosen if another style would be shorter. It holds 340 names of 12
characters, which take afserver some 50 µs for each name matched (measured), for every waiting job and every render."""

ACCEPT_REGEX = "Accept regex as well, and set the job's hosts_mask_type to it."
"""What to do about a refusal if the caller accepts only `find`. Afanasy before 3.4.0 ignores the type and always reads
the mask as regex."""

_FALL_BACK: dict[Style, tuple[Style, ...]] = {
    "list": ("list", "compact", "complement"),
    "compact": ("compact", "complement"),
    "complement": ("complement", "compact", "list"),
}


class MaskProofError(Exception):
    """A mask does not mean what it should: a bug in this program. The mask must not be sent.

    The message has what is needed to reproduce the bug: the mask, the pool and what else is known, as far as it fits.
    """


@dataclass(frozen=True)
class Mask:
    """An exclude mask that has been proven against every known host.

    Args:
        text: what goes into the job's `hosts_mask_exclude`. Empty if no known host is outside the pool.
        type: what must go into `hosts_mask_type`; `any` if both dialects read the text alike.
        style: how it was built.
        why: why it does not have the requested style; empty if it does.
        pool_hosts: how many known hosts it lets through.
        excluded_hosts: how many known hosts it keeps out.
        covers_future_hosts: whether hosts that register later are kept out too.
    """

    text: str
    type: MaskType
    style: Style
    why: str
    pool_hosts: int
    excluded_hosts: int
    covers_future_hosts: bool


_NO_HOSTS = "The pool has no hosts, so there is nowhere for the job to run. Add hosts to it first."


@dataclass(frozen=True)
class _Draft:
    text: str
    type: MaskType

    @property
    def size(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True)
class MadeWithin:
    """What `exclude_mask_within` makes, and for which limits on its length the answer is the same.

    Args:
        mask: the mask, or why there is none.
        least: the shortest `max_bytes` for which this is the answer.
        below: from this `max_bytes` on, the answer may be different; None if it never is.
    """

    mask: Mask | RequestRefused
    least: int = 0
    below: int | None = None

    def answers(self, max_bytes: int) -> bool:
        """Whether this is the answer for this limit."""
        return self.least <= max_bytes and (self.below is None or max_bytes < self.below)

    def given(self) -> Mask:
        """The mask.

        Raises:
            RequestRefused: `empty_pool`, or `mask_not_expressible`, naming the hosts that clash.
        """
        if isinstance(self.mask, RequestRefused):
            # A new one, because raising adds to its traceback.
            raise RequestRefused(self.mask.code, self.mask.message)
        return self.mask


def exclude_mask_within(
    inside: Collection[str],
    known: Collection[str],
    *,
    accept: Sequence[Dialect],
    style: Style = "list",
    no_find: str = "",
    max_bytes: int = LENGTH_LIMIT,
) -> MadeWithin:
    """The mask that excludes every known host outside the pool, in the requested style or the next that is correct.
    Callers may cache the answer: however many limits are asked for, there are few, one for each style that is the first
    to fit.

    Args:
        inside: the pool's hosts, as the farm spells them.
        known: all known hosts, each once, in any order; those of the pool may be among them.
        accept: the mask types the caller can set on a job.
        style: `list`: the names. `compact`: the same names through a prefix tree, in whichever accepted dialect is
            shorter. `complement`: everything but the pool, made of the pool's names alone.
        no_find: a clause that says why this farm must not be given a mask that is correct only as `find`; empty if it
            may be given one.
        max_bytes: the longest mask allowed; at most `MASK_BYTES`.

    Raises:
        MaskProofError: a bug in this package.
    """
    if not inside:
        return MadeWithin(RequestRefused(Code.EMPTY_POOL, _NO_HOSTS))
    drawing = _Drawing(inside, known, accept, no_find, max_bytes)
    drafts: dict[Style, _Draft] = {}
    why_not: dict[Style, str] = {}
    for candidate in _FALL_BACK[style]:
        draft = drawing.draft(candidate)
        if isinstance(draft, str):
            why_not[candidate] = draft
            continue
        drafts[candidate] = draft
        if candidate == "complement" or draft.size <= SHORT:
            chosen = candidate
            break
        why_not[candidate] = f"it would take {draft.size:,} bytes, and more than {SHORT:,} slow the farm down"
    else:
        if not drafts:
            refusal = RequestRefused(Code.MASK_NOT_EXPRESSIBLE, _refusal(why_not, accept, no_find))
            return MadeWithin(refusal, below=drawing.shortest_refused)
        # None is short, so take the shortest.
        chosen = min(drafts, key=lambda name: drafts[name].size)
    draft = drafts[chosen]
    drawing.prove(draft)
    mask = Mask(
        text=draft.text,
        type=draft.type,
        style=chosen,
        why="" if chosen == style else f"Not given as {style}: {why_not[style]}.",
        pool_hosts=len(drawing.inside),
        excluded_hosts=len(drawing.outside),
        covers_future_hosts=chosen == "complement",
    )
    return MadeWithin(mask, draft.size, drawing.shortest_refused)


def proven_besides(mask: Mask, came: Collection[str], differ: Collection[str], excluded_hosts: int) -> Mask | None:
    """Proves a complement again after the known hosts have changed; the pool's hosts are the same.

    Args:
        mask: proven for the hosts that were known.
        came: the hosts that have become known since, none of them in the pool.
        differ: those, and the hosts that are no longer known.
        excluded_hosts: how many known hosts are outside the pool now.

    Returns:
        The mask with its new counts. None if a host's name makes a different text necessary.

    Raises:
        MaskProofError: a bug in this package.
    """
    if anything(differ) != anything(()):
        return None
    try:
        excluded = hosts_matched(mask.text, sorted(came))
    except ValueError as error:
        raise MaskProofError(f"The mask {_cut(mask.text)} did not pass its proof: it has {error}.") from error
    if excluded != set(came):
        wrong = ", ".join(map(repr, sorted(excluded ^ set(came))[:10]))
        raise MaskProofError(f"The mask {_cut(mask.text)} did not pass its proof: it is wrong about {wrong}.")
    return replace(mask, excluded_hosts=excluded_hosts)


def find_parts(mask: str) -> list[str]:
    """The parts into which afserver splits a `find` mask; like afserver, it drops empty parts."""
    return [part for part in re.split(r"[|;,: ]", mask) if part]


def hosts_found(mask: str, hosts: Sequence[str]) -> set[str]:
    """The hosts that a `find` mask excludes.

    Args:
        mask: the text.
        hosts: sorted names.
    """
    found: set[str] = set()
    for part in set(find_parts(mask)):
        found.update(beginning_with(part, hosts))
    return found


def beginning_with(prefix: str, hosts: Sequence[str]) -> Sequence[str]:
    """The hosts that begin with a prefix; in a sorted list they are adjacent.

    Args:
        prefix: the beginning, which may be a whole name.
        hosts: sorted names.
    """
    first = bisect_left(hosts, prefix)
    return hosts[first : bisect_left(hosts, True, first, key=lambda host: not host.startswith(prefix))]


def anything(hosts: Collection[str]) -> str:
    """An expression for any part of these names: `.*`, or a longer one if `.` does not match every character."""
    # `.` matches any character but these two, and hardly any render's name contains one.
    return r"[\s\S]*" if any("\n" in host or "\r" in host for host in hosts) else ".*"


def hosts_matched(mask: str, hosts: Sequence[str]) -> set[str]:
    """The hosts that a `regex` mask excludes.

    Raises:
        ecmascript.NotCompiled, ecmascript.NotJudged: as `matching`.
    """
    # afserver takes an empty mask for no mask (af::RegExp::match). It also reads a job's mask before its type, while
    # the mask still counts as find: a mask of nothing but separators is empty from then on (af::RegExp::setPattern).
    return matching(mask, hosts) if find_parts(mask) else set()


class _Drawing:
    """One pool on one farm: what each style makes of it.

    Args: as `exclude_mask_within`.
    """

    def __init__(
        self, inside: Collection[str], known: Collection[str], accept: Sequence[Dialect], no_find: str, max_bytes: int
    ) -> None:
        self.shortest_refused: int | None = None
        """The size of the shortest draft that was too long, in bytes. The draft itself may be longer."""
        self._max_bytes = min(max_bytes, MASK_BYTES)
        self._accept = accept
        self._no_find = no_find
        pool = frozenset(inside)
        self.known = sorted([*known, *pool.difference(known)])
        self.inside = sorted(pool)
        self.outside = [host for host in self.known if host not in pool]
        self._drafts: dict[Style, Callable[[], _Draft | str]] = {
            "list": self._list,
            "compact": self._compact,
            "complement": self._complement,
        }

    def draft(self, style: Style) -> _Draft | str:
        """The mask in one style, or why there is none."""
        draft = self._drafts[style]()
        if isinstance(draft, str):
            return draft
        if draft.size > self._max_bytes:
            return self._too_long(draft.size, f"{draft.size:,} bytes")
        if draft.size > LENGTH_LIMIT and draft.type != "find":
            needed = ecmascript.states(ecmascript.parse(draft.text))
            if needed > ecmascript.STATE_LIMIT:
                return f"{needed:,} states are more than std::regex allows ({ecmascript.STATE_LIMIT:,})"
        return draft

    def _too_long(self, size: int, what: str) -> str:
        """Why a draft is refused; `size` is a lower bound on its bytes."""
        if size <= MASK_BYTES:
            self.shortest_refused = min(size, self.shortest_refused or size)
            return f"{what} are more than the caller can pass on"
        return f"{what} are more than afserver accepts"

    @cached_property
    def _cover(self) -> list[str] | str:
        """The smallest set of prefixes, or why `find` cannot express it."""
        cover = prefix_tree.prefix_cover(self.outside, self.inside)
        if isinstance(cover, prefix_tree.Clash):
            return (
                f"as find, excluding {_quoted(cover.outside)} would exclude {_quoted(cover.inside)} of the pool too, "
                "whose name begins with it"
            )
        for prefix in cover:
            if not UNFIT_FOR_FIND.isdisjoint(prefix):
                name = self.outside[bisect_left(self.outside, prefix)]
                return f"as find, the name {_quoted(name)} would be cut into pieces before it differs from the pool's"
        return cover

    def _list(self) -> _Draft | str:
        plain = "|".join(self.outside)
        if len(plain) > self._max_bytes:
            return self._too_long(len(plain), f"{len(plain):,} characters")
        reason = self._cover if isinstance(self._cover, str) else ""
        cut = next((name for name in self.outside if not UNFIT_FOR_FIND.isdisjoint(name)), None)
        if cut is not None and not reason:
            reason = f"as find, the name {_quoted(cut)} would be cut into pieces"
        regex = _guarded("|".join(map(prefix_tree.escape, self.outside)), self.outside)
        if not reason and regex == plain:
            return _Draft(plain, "any")
        # A text that both dialects read alike is correct on any farm; one for a single dialect is not.
        reason = reason or self._no_find
        if not reason and "find" in self._accept:
            return _Draft(plain, "find")
        return _Draft(regex, "regex") if "regex" in self._accept else reason

    def _compact(self) -> _Draft | str:
        if not self.outside:
            return _Draft("", "any")
        drafts: list[_Draft] = []
        reason = ""
        if "find" in self._accept:
            if isinstance(self._cover, str):
                reason = self._cover
            else:
                text = "|".join(self._cover)
                both = self._cover == self.outside and all(prefix_tree.escape(name) == name for name in self.outside)
                if both or not self._no_find:
                    drafts.append(_Draft(text, "any" if both else "find"))
                else:
                    reason = self._no_find
        if "regex" in self._accept:
            drafts.append(_Draft(_guarded(prefix_tree.expression(self.outside), self.outside), "regex"))
        return min(drafts, key=lambda draft: draft.size) if drafts else reason

    def _complement(self) -> _Draft | str:
        if "regex" not in self._accept:
            return "a mask of everything but the pool can be written as regex only, which the caller cannot set"
        return _Draft(f"(?!{prefix_tree.enclosed(self.inside)}$){anything(self.outside)}", "regex")

    def prove(self, draft: _Draft) -> None:
        """Reads the mask as afserver would, in each dialect it is declared for, and checks what it excludes.

        Raises:
            MaskProofError: it excludes what it should not, or does not exclude what it should.
        """
        meant = set(self.outside)
        for dialect, reading in (("find", hosts_found), ("regex", hosts_matched)):
            if draft.type not in (dialect, "any"):
                continue
            try:
                excluded = reading(draft.text, self.known)
            except ValueError as error:
                raise self._disproved(draft, f"as {dialect} it has {error}") from error
            if excluded != meant:
                wrong = ", ".join(map(repr, sorted(excluded ^ meant)[:10]))
                raise self._disproved(draft, f"as {dialect} it is wrong about {wrong}")

    def _disproved(self, draft: _Draft, what: str) -> MaskProofError:
        return MaskProofError(
            f"The {draft.type} mask {_cut(draft.text)} did not pass its proof: {what}. "
            f"Pool: {_cut(' '.join(map(repr, self.inside)))}. Outside: {_cut(' '.join(map(repr, self.outside)))}."
        )


def _refusal(why_not: dict[Style, str], accept: Sequence[Dialect], no_find: str) -> str:
    """Why there is no mask in any style (each reason once) and what to do about it."""
    styles: dict[str, list[str]] = {}
    for style, reason in why_not.items():
        styles.setdefault(reason, []).append(style)
    reasons = " ".join(f"As {' or '.join(names)}: {reason}." for reason, names in styles.items())
    if "regex" in accept:
        advice = "A pool with fewer hosts, or with consecutive numbers, needs a shorter mask."
    elif no_find in styles:
        advice = f"{ACCEPT_REGEX} Or update that render, or delete it in Afanasy if the machine is gone."
    else:
        advice = ACCEPT_REGEX
    return f"No mask that the caller accepts would be right on this farm. {reasons} {advice}"


def _guarded(text: str, outside: Sequence[str]) -> str:
    """The expression, written so that afserver does not take it for an empty mask; see `hosts_matched`."""
    return f"(?:{text})" if outside and not find_parts(text) else text


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "…")


def _cut(text: str) -> str:
    """The text, shortened to fit a log line."""
    return text if len(text) <= 2000 else f"{text[:2000]}… ({len(text):,} characters)"
