"""What an ECMAScript expression matches, as afserver's std::regex reads it, found in bounded time.

Strategy: if an expression stands for names that can be listed, they are looked up; otherwise it is matched against each
host in turn. A foreign expression may take any amount of time, so both ways count their steps and give up.
"""

from __future__ import annotations

from collections.abc import Collection

from .ecmascript import (
    STATE_LIMIT,
    WORD,
    Choice,
    Class,
    Edge,
    Group,
    Look,
    Node,
    NotCompiled,
    NotJudged,
    Repeat,
    Sequence,
    Text,
    as_bytes,
    parse,
    states,
)


def may_explode(node: Node, within: bool = False) -> bool:
    """Whether std::regex could try exponentially many ways to match: one unlimited repetition inside another."""
    match node:
        case Sequence(parts) | Choice(parts):
            return any(may_explode(part, within) for part in parts)
        case Repeat(body, _, None):
            return within or may_explode(body, within=True)
        case Group(body) | Look(body) | Repeat(body):
            return may_explode(body, within)
    return False


class _Endless(Exception):
    """An expression that stands for too many names, or whose names cannot be listed."""


class _Names:
    """Lists the names that expressions stand for, byte by byte.

    A foreign expression may stand for anything, so listing its names is bounded in number, in time and, since a name
    longer than the longest host is of no use, in memory.

    Args:
        hosts: the names that matter.
    """

    # For each host. Our own masks need about three for each of their levels at most.
    _STEPS = 300

    def __init__(self, hosts: Collection[str]) -> None:
        self._limit = 2 * len(hosts) + 1000
        self._longest = max(map(len, hosts), default=0)
        self._left = self._STEPS * self._limit

    def of(self, node: Node) -> list[str]:
        """All the names an expression stands for, except those longer than any host; a name may appear twice.

        Raises:
            _Endless: there are too many names, or the expression has a lookahead or an edge.
        """
        match node:
            case Text(text):
                return [text]
            case Class(members):
                found = list(members)
            case Sequence(items):
                found = [""]
                for item in items:
                    found = self._followed(found, self.of(item))
            case Choice(branches):
                found = []
                for branch in branches:
                    found += self.of(branch)
                    self._check(found)
            case Group(body):
                return self.of(body)
            case Repeat(body, 0, 1):
                found = ["", *self.of(body)]
            case _:
                raise _Endless
        self._check(found)
        return found

    def _followed(self, found: list[str], ends: list[str]) -> list[str]:
        if ends == [""]:
            return found
        count = len(found) * len(ends)
        self._left -= count
        if count > self._limit or self._left < 0:
            raise _Endless
        longest = self._longest
        if len(ends) == 1:
            end = ends[0]
            room = longest - len(end)
            return [start + end for start in found if len(start) <= room]
        return [name for start in found for end in ends if len(name := start + end) <= longest]

    def _check(self, found: list[str]) -> None:
        if len(found) > self._limit:
            raise _Endless


def matching(pattern: str, hosts: Collection[str]) -> set[str]:
    """The hosts that an expression matches from end to end, as std::regex_match decides it.

    Raises:
        NotCompiled: std::regex would throw, also because of its limit of states.
        NotJudged: its meaning cannot be worked out here.
    """
    node = parse(pattern)
    if (needed := states(node)) > STATE_LIMIT:
        if "{" in pattern:
            raise NotJudged(f"up to {needed:,} states, and libstdc++ allows {STATE_LIMIT:,}")
        raise NotCompiled(f"{needed:,} states, and libstdc++ allows {STATE_LIMIT:,}")
    seen = (
        {as_bytes(host): host for host in hosts}
        if not "".join(hosts).isascii()
        else dict(zip(hosts, hosts, strict=True))
    )
    return {seen[name] for name in _matched(node, seen)}


def _matched(node: Node, hosts: Collection[str]) -> set[str]:
    """Those of the hosts that match.

    Works one branch at a time. If a pool's mask is joined with another, the branch that excludes everything outside the
    pool is read at a glance, and few hosts are left to try on the rest.
    """
    listed = _Names(hosts)
    found: set[str] = set()
    others: list[Node] = []
    for branch in node.branches if isinstance(node, Choice) else (node,):
        some = _at_a_glance(branch, hosts, listed)
        if some is None:
            others.append(branch)
        else:
            found |= some
    if others:
        rest = Choice(tuple(others))
        matcher = _Matcher()
        found.update([host for host in hosts if host not in found and matcher.matches(rest, host)])
    return found


def _at_a_glance(node: Node, hosts: Collection[str], listed: _Names) -> set[str] | None:
    """Those of the hosts that match; None if each has to be tried."""
    try:
        match node:
            case Group(body):
                return _at_a_glance(body, hosts, listed)
            # Everything but these names: what our masks of the style `complement` look like.
            case Sequence((Look(Sequence((*body, Edge("$"))), False), Repeat(Class(rest), 0, None))):
                but = frozenset(listed.of(Sequence(tuple(body))))
                fitting = hosts if rest.issuperset("".join(hosts)) else filter(rest.issuperset, hosts)
                return {name for name in fitting if name not in but}
            # Any name that begins with one of these: a `find` mask written as regex looks like this.
            case Sequence((*body, Repeat(Class(rest), 0, None))):
                starts = frozenset(listed.of(Sequence(tuple(body))))
                lengths = {len(start) for start in starts}
                return {
                    name
                    for name in hosts
                    for length in lengths
                    if name[:length] in starts and rest.issuperset(name[length:])
                }
            case _:
                return {name for name in listed.of(node) if name in hosts}
    except _Endless:
        return None


class _Matcher:
    """Matches by sets of positions, which takes polynomial time for every expression. std::regex may need exponential
    time for the same expression; that slows down the farm of whoever wrote it, not this broker."""

    _STEPS = 5_000_000

    def __init__(self) -> None:
        self._left = self._STEPS

    def matches(self, node: Node, text: str) -> bool:
        return len(text) in self._ends(node, text, {0}, 0)

    def _ends(self, node: Node, text: str, starts: set[int], begin: int) -> set[int]:
        """Where a match of the node that starts at one of `starts` can end; `begin` is where `^` matches."""
        self._left -= 1 + len(starts)
        if self._left < 0:
            raise NotJudged("an expression that takes too long to match against this many hosts")
        match node:
            case Text(part):
                return {at + len(part) for at in starts if text.startswith(part, at)}
            case Class(members):
                return {at + 1 for at in starts if at < len(text) and text[at] in members}
            case Sequence(items):
                for item in items:
                    if not starts:
                        break
                    starts = self._ends(item, text, starts, begin)
                return starts
            case Choice(branches):
                if node.by_first is not None:
                    return {
                        end
                        for at in starts
                        for branch in node.by_first.get(text[at : at + 1], ())
                        for end in self._ends(branch, text, {at}, begin)
                    }
                return {end for branch in branches for end in self._ends(branch, text, starts, begin)}
            case Group(body):
                return self._ends(body, text, starts, begin)
            case Look(body, wanted):
                # libstdc++ starts afresh in a lookahead: `^` matches there.
                return {at for at in starts if bool(self._ends(body, text, {at}, at)) is wanted}
            case Edge(kind):
                return {at for at in starts if self._at_edge(kind, text, at, begin)}
            case Repeat(body, least, most):
                return self._repeated(body, least, most, text, starts, begin)
        raise AssertionError(node)

    def _repeated(self, body: Node, least: int, most: int | None, text: str, starts: set[int], begin: int) -> set[int]:
        for _ in range(least):
            if not starts:
                return starts
            starts = self._ends(body, text, starts, begin)
        ends, latest, rounds = set(starts), starts, least
        while latest and rounds != most:
            latest = self._ends(body, text, latest, begin) - ends
            ends |= latest
            rounds += 1
        return ends

    @staticmethod
    def _at_edge(kind: str, text: str, at: int, begin: int) -> bool:
        if kind == "^":
            return at == begin
        if kind == "$":
            return at == len(text)
        before, after = at > begin and text[at - 1] in WORD, at < len(text) and text[at] in WORD
        return (before != after) is (kind == "b")
