"""Parses ECMAScript expressions as afserver's std::regex does, and counts the states they need.

Strategy: one parser, modelled on libstdc++'s own scanner and compiler (bits/regex_scanner.tcc, regex_compiler.tcc)
rather than on Python's `re`, which differs in `$`, `.`, `\\d`, classes and Unicode. It turns an expression into a tree,
which `states` reads here and `matching` reads in the module of that name. std::regex works on bytes, so everything here
does too: texts are UTF-8 decoded as Latin-1, one character per byte. Nothing in this module knows how masks are made,
because it is what proves them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

STATE_LIMIT = 100_000
"""Above this limit libstdc++ throws (_GLIBCXX_REGEX_STATE_LIMIT), and afserver then runs the job unfenced. Measured."""

_DEPTH_LIMIT = 100
"""How deeply groups may nest. Our own masks nest at most 65 deep. Each level takes up to seven frames of Python's
stack, which holds a thousand in all, our caller's included."""

_REPEAT_LIMIT = 10_000
_REPEAT_DIGITS = 9
_EVERY = frozenset(map(chr, range(256)))

# In a range within [ ], bytes are signed numbers: the bytes of multi-byte characters come first.
_IN_ORDER = "".join(map(chr, [*range(0x80, 0x100), *range(0x80)]))
_DIGITS = frozenset("0123456789")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER = frozenset(map(str.upper, _LOWER))
_SPACE = frozenset(" \t\n\v\f\r")
WORD = _DIGITS | _LOWER | _UPPER | {"_"}
_PRINTED = frozenset(map(chr, range(0x21, 0x7F)))
_ANY = _EVERY - {"\n", "\r"}

# afserver sets no locale, so the classes are those of "C".
_CLASSES = {"d": _DIGITS, "s": _SPACE, "w": WORD, "D": _EVERY - _DIGITS, "S": _EVERY - _SPACE, "W": _EVERY - WORD}

_NAMED_CLASSES = {
    "d": _DIGITS,
    "w": WORD,
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
    """An expression that std::regex refuses; afserver would accept the job anyway and run it unfenced."""


class NotJudged(ValueError):
    """An expression that may compile, but whose meaning this module does not work out."""


@dataclass(frozen=True)
class Text:
    """Bytes that stand for themselves."""

    text: str


@dataclass(frozen=True)
class Class:
    """Any one byte of a set."""

    members: frozenset[str]


@dataclass(frozen=True)
class Sequence:
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    branches: tuple[Node, ...]

    @cached_property
    def by_first(self) -> dict[str, list[Node]] | None:
        """The branches by their first byte; None if one of them does not begin with a known byte."""
        found: dict[str, list[Node]] = {}
        for branch in self.branches:
            first = branch.items[0] if isinstance(branch, Sequence) and branch.items else branch
            if not isinstance(first, Text):
                return None
            found.setdefault(first.text[0], []).append(branch)
        return found


@dataclass(frozen=True)
class Group:
    """`(…)` and `(?:…)`; the first also captures what it matched, which no mask needs."""

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
        NotJudged: it uses a back-reference, a collating element, or nests too deeply.
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
                # A quantifier applies to the last byte only.
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
            raise NotJudged(f"more than {_DEPTH_LIMIT} nested groups")
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
        # Python refuses to convert a number of thousands of digits; the number is too large long before that.
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
        """What follows a backslash: `=x` for the byte x, else the letter of a class, an edge or a reference."""
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
        # The last single byte, which may turn out to be the start of a range; "class" if what came last cannot start
        # one.
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
    """An upper bound on the states that libstdc++ makes of the expression; exact if nothing is repeated with `{}`.

    Source: bits/regex_compiler.tcc. Three for the whole, one for each byte, class and edge, one for the end of each
    alternative and two more for each `|`, one or two for a group, two for a lookahead, one for `*` and `+`, two for
    `?`. `{}` copies what it repeats, placeholders included, and a state that two others lead to may be copied twice.
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
