"""ECMAScript expressions as afserver's std::regex reads them: what they match, and how many states they cost.

Strategy: one parser, written after libstdc++'s own scanner and compiler (bits/regex_scanner.tcc, regex_compiler.tcc),
not after Python's `re`, which differs in `$`, `.`, `\\d`, classes and Unicode. It turns an expression into a tree;
three functions read the tree. std::regex works on bytes, so everything here does: texts are UTF-8, shown as Latin-1,
one character a byte. Nothing in this module knows how masks are made: it is what proves them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

STATE_LIMIT = 100_000
"""Above it libstdc++ throws (_GLIBCXX_REGEX_STATE_LIMIT), and afserver then runs the job unfenced. Measured."""

_DEPTH_LIMIT = 100
"""Groups within groups. Ours have at most 65; each takes up to seven frames of Python's stack, which has a thousand for
all, our caller's among them."""

_REPEAT_LIMIT = 10_000
_REPEAT_DIGITS = 9

_EVERY = frozenset(map(chr, range(256)))
# For a range within [ ] bytes are signed numbers: those of several-byte characters come first.
_IN_ORDER = "".join(map(chr, [*range(0x80, 0x100), *range(0x80)]))
_DIGITS = frozenset("0123456789")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER = frozenset(map(str.upper, _LOWER))
_SPACE = frozenset(" \t\n\v\f\r")
_WORD = _DIGITS | _LOWER | _UPPER | {"_"}
_PRINTED = frozenset(map(chr, range(0x21, 0x7F)))
_ANY = _EVERY - {"\n", "\r"}
# afserver sets no locale, so the classes are those of "C".
_CLASSES = {"d": _DIGITS, "s": _SPACE, "w": _WORD, "D": _EVERY - _DIGITS, "S": _EVERY - _SPACE, "W": _EVERY - _WORD}
_NAMED_CLASSES = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "alnum": _DIGITS | _LOWER | _UPPER,
    "alpha": _LOWER | _UPPER,
    "blank": frozenset(" \t"),
    "cntrl": frozenset(map(chr, range(0x20))) | {"\x7f"},
    "digit": _DIGITS,
    "graph": _PRINTED,
    "lower": _LOWER,
    "print": _PRINTED | {" "},
    "punct": _PRINTED - _DIGITS - _LOWER - _UPPER,
    "space": _SPACE,
    "upper": _UPPER,
    "xdigit": _DIGITS | frozenset("abcdefABCDEF"),
}
_ESCAPES = {"0": "\0", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ORDINARY = re.compile(r"[^\\^$.*+?()\[{|]+")
_COUNT = re.compile(r"([0-9]+)(,([0-9]*))?\}")


class NotCompiled(ValueError):
    """An expression that std::regex refuses. afserver would accept the job anyway, and run it unfenced."""


class NotJudged(ValueError):
    """An expression that may well compile, but whose meaning is not worked out here."""


@dataclass(frozen=True)
class Text:
    """Bytes that stand for themselves."""

    text: str


@dataclass(frozen=True)
class Class:
    """One byte out of several."""

    members: frozenset[str]


@dataclass(frozen=True)
class Sequence:
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    branches: tuple[Node, ...]

    @cached_property
    def by_first(self) -> dict[str, list[Node]] | None:
        """The branches by their first byte, None where one does not begin with a known one."""
        found: dict[str, list[Node]] = {}
        for branch in self.branches:
            first = branch.items[0] if isinstance(branch, Sequence) and branch.items else branch
            if not isinstance(first, Text):
                return None
            found.setdefault(first.text[0], []).append(branch)
        return found


@dataclass(frozen=True)
class Group:
    """`(…)` and `(?:…)`: the one remembers what it matched, which no mask needs."""

    body: Node
    captures: bool


@dataclass(frozen=True)
class Repeat:
    body: Node
    least: int
    most: int | None
    counted: bool


@dataclass(frozen=True)
class Look:
    """`(?=…)` and `(?!…)`."""

    body: Node
    wanted: bool


@dataclass(frozen=True)
class Edge:
    """`^`, `$`, `b` or `B`."""

    kind: str


Node = Text | Class | Sequence | Choice | Group | Repeat | Look | Edge


def as_bytes(text: str) -> str:
    """The text as std::regex sees it: UTF-8, one character a byte."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def parse(pattern: str) -> Node:
    """The tree of an expression.

    Raises:
        NotCompiled: std::regex would throw.
        NotJudged: it uses a back-reference, a collating element, or nests deeper than we follow.
    """
    return _Parser(as_bytes(pattern)).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._choice()
        if self._at < len(self._text):
            self._refuse("a ) that closes nothing")
        return node

    def _refuse(self, what: str) -> NoReturn:
        raise NotCompiled(f"{what}, at character {self._at}")

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _choice(self) -> Node:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Node:
        items: list[Node] = []
        text = self._text
        while self._at < len(text) and text[self._at] not in "|)":
            plain = _ORDINARY.match(text, self._at)
            if plain:
                self._at = plain.end()
                # A quantifier belongs to the last byte only.
                if self._at < len(text) and text[self._at] in "*+?{" and self._at - plain.start() > 1:
                    self._append(items, Text(plain[0][:-1]))
                    item: Node = Text(plain[0][-1])
                else:
                    item = Text(plain[0])
            else:
                item = self._item()
            if not isinstance(item, Look | Edge):
                quantified = self._quantified(item)
                if quantified is not item:
                    items.append(quantified)
                    continue
            self._append(items, item)
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    @staticmethod
    def _append(items: list[Node], item: Node) -> None:
        if isinstance(item, Text) and items and isinstance(items[-1], Text):
            items[-1] = Text(items[-1].text + item.text)
        else:
            items.append(item)

    def _item(self) -> Node:
        char = self._text[self._at]
        if char == "(":
            return self._group()
        if char in "*+?{":
            self._refuse(f"a {char} with nothing before it")
        self._at += 1
        if char in "^$":
            return Edge(char)
        if char == ".":
            return Class(_ANY)
        if char == "[":
            return self._bracket()
        return self._escape()

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise NotJudged(f"more than {_DEPTH_LIMIT} groups within each other")
        made: Node
        if self._take("(?:"):
            made = Group(self._choice(), captures=False)
        elif self._take("(?=") or self._take("(?!"):
            wanted = self._text[self._at - 1] == "="
            made = Look(self._choice(), wanted)
        elif self._take("(?"):
            self._refuse("a (? that is not one of (?: (?= (?!")
        else:
            self._at += 1
            made = Group(self._choice(), captures=True)
        if not self._take(")"):
            self._refuse("a ( that is never closed")
        self._depth -= 1
        return made

    def _quantified(self, item: Node) -> Node:
        while True:
            if self._take("*"):
                item = Repeat(item, 0, None, counted=False)
            elif self._take("+"):
                item = Repeat(item, 1, None, counted=False)
            elif self._take("?"):
                item = Repeat(item, 0, 1, counted=False)
            elif self._take("{"):
                item = self._counted(item)
            else:
                return item
            # A lazy quantifier matches the same names as a greedy one.
            self._take("?")

    def _counted(self, item: Node) -> Node:
        count = _COUNT.match(self._text, self._at)
        if not count:
            self._refuse("a { that is not {2}, {2,} or {2,4}")
        self._at = count.end()
        # Python converts no number of thousands of digits; that one is too many shows long before.
        if max(len(count[1]), len(count[3] or "")) > _REPEAT_DIGITS:
            raise NotJudged(f"a repetition of more than {_REPEAT_LIMIT:,}")
        least = int(count[1])
        most = least if count[2] is None else int(count[3]) if count[3] else None
        if most is not None and most < least:
            self._refuse(f"a {{{count[0]} that ends before it begins")
        if max(least, most or 0) > _REPEAT_LIMIT:
            raise NotJudged(f"a repetition of more than {_REPEAT_LIMIT:,}")
        return Repeat(item, least, most, counted=True)

    def _escape(self) -> Node:
        char = self._escaped()
        if char in ("b", "B"):
            return Edge(char)
        if char in _CLASSES:
            return Class(_CLASSES[char])
        if char.isdigit():
            raise NotJudged("a back-reference")
        return Text(char[1:])

    def _escaped(self) -> str:
        """What stands behind a backslash: `=x` for the byte x, else the letter of a class, an edge or a reference."""
        if self._at >= len(self._text):
            self._refuse("a backslash at the end")
        char = self._text[self._at]
        self._at += 1
        if char in _ESCAPES and char != "b":
            return "=" + _ESCAPES[char]
        if char in "bB" or char in _CLASSES or char in _DIGITS:
            return char
        if char == "c":
            if self._at >= len(self._text):
                self._refuse("a \\c at the end")
            self._at += 1
            # libstdc++ takes the letter as it is, where ECMAScript means a control character.
            return "=" + self._text[self._at - 1]
        if char in "xu":
            size = 2 if char == "x" else 4
            digits = self._text[self._at : self._at + size]
            if not re.fullmatch(f"[0-9a-fA-F]{{{size}}}", digits):
                self._refuse(f"a \\{char} without {size} hexadecimal digits")
            self._at += size
            return "=" + chr(int(digits, 16) & 0xFF)
        return "=" + char

    def _bracket(self) -> Node:
        negated = self._take("^")
        members: set[str] = set()
        # The last single byte, which may turn out to be the start of a range; "class" after what cannot be one.
        last = ""
        while not self._take("]"):
            if self._at >= len(self._text):
                self._refuse("a [ that is never closed")
            if self._take("-"):
                if self._take("]"):
                    members.add("-")
                    break
                if last == "class":
                    self._refuse("a range that begins with a class")
                if last:
                    end = "-" if self._take("-") else self._bracket_member()
                    if isinstance(end, frozenset):
                        self._refuse("a range that ends in a class")
                    if _IN_ORDER.index(last) > _IN_ORDER.index(end):
                        self._refuse(f"a range from {last} to {end}, which is empty")
                    members.update(_IN_ORDER[_IN_ORDER.index(last) : _IN_ORDER.index(end) + 1])
                    last = ""
                    continue
                found: str | frozenset[str] = "-"
            else:
                found = self._bracket_member()
            if isinstance(found, frozenset):
                members |= found
                last = "class"
            else:
                members.add(found)
                last = found
        return Class(_EVERY - members if negated else frozenset(members))

    def _bracket_member(self) -> str | frozenset[str]:
        if self._take("[:"):
            end = self._text.find(":]", self._at)
            name = self._text[self._at : end].lower() if end >= 0 else ""
            if name not in _NAMED_CLASSES:
                self._refuse("an unknown [:class:]")
            self._at = end + 2
            return _NAMED_CLASSES[name]
        if self._text.startswith(("[.", "[="), self._at):
            raise NotJudged("a collating element")
        if self._at >= len(self._text):
            self._refuse("a [ that is never closed")
        char = self._text[self._at]
        self._at += 1
        if char != "\\":
            return char
        escaped = self._escaped()
        if escaped in _CLASSES:
            return _CLASSES[escaped]
        if escaped == "b":
            return "\b"
        if escaped[0] != "=":
            self._refuse(f"a \\{escaped} within [ ]")
        return escaped[1:]


def states(node: Node) -> int:
    """At most how many states libstdc++ makes of the expression; exact where nothing is repeated with `{}`.

    Source: bits/regex_compiler.tcc. Three for the whole, one for each byte, class and edge, one for each alternative's
    end and two more for each `|`, one or two for a group, two for a lookahead, one for `*` and `+`, two for `?`. `{}`
    copies what it repeats, the placeholders included, and a state that two others lead to may be copied twice.
    """
    return 3 + _states(node) + _ends_of_branches(node)


def _states(node: Node) -> int:
    match node:
        case Text(text):
            return len(text)
        case Class() | Edge():
            return 1
        case Sequence(items):
            return sum(map(_states, items))
        case Choice(branches):
            return sum(_states(branch) + _ends_of_branches(branch) for branch in branches) + 2 * (len(branches) - 1)
        case Group(body, captures):
            return _states(body) + _ends_of_branches(body) + (2 if captures else 1)
        case Look(body):
            return _states(body) + _ends_of_branches(body) + 2
        case Repeat(body, least, most, counted):
            if not counted:
                return _states(body) + (2 if most == 1 else 1)
            return (2 * (least if most is None else most) + 3) * (_states(body) + 2) + 2
    raise AssertionError(node)


def _ends_of_branches(node: Node) -> int:
    return 0 if isinstance(node, Choice) else 1


def may_explode(node: Node, within: bool = False) -> bool:
    """Whether std::regex could try exponentially many ways to match: something unlimited within something unlimited."""
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

    Somebody else's expression may stand for anything: what it takes to list it is bounded in number, in time and, since
    no name is of use that is longer than the longest host, in memory.

    Args:
        hosts: the names that may be asked for.
    """

    # For each host. Our own masks take some three for each of their levels at most.
    _STEPS = 300

    def __init__(self, hosts: Collection[str]) -> None:
        self._limit = 2 * len(hosts) + 1000
        self._longest = max(map(len, hosts), default=0)
        self._left = self._STEPS * self._limit

    def of(self, node: Node) -> list[str]:
        """All the names an expression stands for, but those longer than any host; one may come twice.

        Raises:
            _Endless: there are too many, or it looks ahead or at an edge.
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
        NotCompiled: std::regex would throw, the limit of states included.
        NotJudged: its meaning is not worked out here.
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

    One branch at a time: of a pool's mask that is joined with another, the branch that keeps out whatever is outside
    the pool is read at a glance, and leaves few hosts to be tried on the rest.
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
    """Those of the hosts that match; None where each has to be tried."""
    try:
        match node:
            case Group(body):
                return _at_a_glance(body, hosts, listed)
            # Everything but these names: what our masks of the style `complement` look like.
            case Sequence((Look(Sequence((*body, Edge("$"))), False), Repeat(Class(rest), 0, None))):
                but = frozenset(listed.of(Sequence(tuple(body))))
                fitting = hosts if rest.issuperset("".join(hosts)) else filter(rest.issuperset, hosts)
                return {name for name in fitting if name not in but}
            case _:
                return {name for name in listed.of(node) if name in hosts}
    except _Endless:
        return None


class _Matcher:
    """Matches by sets of positions, which takes polynomial time whatever the expression; std::regex may well need
    exponential time for the same, which is its user's trouble, not that of whoever asks us."""

    _STEPS = 5_000_000

    def __init__(self) -> None:
        self._left = self._STEPS

    def matches(self, node: Node, text: str) -> bool:
        return len(text) in self._ends(node, text, {0}, 0)

    def _ends(self, node: Node, text: str, starts: set[int], begin: int) -> set[int]:
        """Where a match of the node can end that starts at one of `starts`; `begin` is what `^` takes for the start."""
        self._left -= 1 + len(starts)
        if self._left < 0:
            raise NotJudged("an expression that takes too long for so many hosts")
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
                # libstdc++ starts again where it looks ahead: `^` matches there.
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
        before, after = at > begin and text[at - 1] in _WORD, at < len(text) and text[at] in _WORD
        return (before != after) is (kind == "b")
