"""Masks that people write: their effect is known or reported as unknown, within a limited time."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests import oracle as judges
from tests.fuzz.mutations import changed_text, edited
from tests.fuzz.target import Check, Target, stateless
from tests.made_mask import exclude_mask

from afpools_broker.masks import ecmascript
from afpools_broker.masks import exclude as masks
from afpools_broker.masks.check import check
from afpools_broker.masks.exclude import Mask
from afpools_broker.masks.joint import joined
from afpools_broker.masks.matching import matching, may_explode
from afpools_broker.protocol import Code, Dialect, Reading, RequestRefused

_FARM = sorted(
    [*(f"pc-{n:02}" for n in range(1, 41)), "pc-1", "pc-10", "ws.one", "LT-07", "über-1", "a|b", "x y", "a" * 60]
)
_POOL = frozenset(_FARM[::3])
_PARTS = (
    "|", "(", ")", "(?:", "(?=", "(?!", "[", "]", "[^", "-", "*", "+", "?", "{2}", "{1,}", "{0,9999}", "\\", "\\d",
    "\\b", "\\x41", "\\u0041", "\\1", "$", "^", ".", ".*", "(a+)+", "(a|aa)+", "[[:alpha:]]", "pc-0", "pc-[0-9]", ";",
    " ", "\0",
)  # fmt: skip
_CODES = (Code.BAD_REQUEST, Code.EMPTY_POOL, Code.MASK_NOT_EXPRESSIBLE)


def check_pattern(data: bytes) -> None:
    """A mask is checked and joined with a pool's: the joint mask combines both, or there is none."""
    pattern = data.decode("utf-8", "replace")
    read: dict[Dialect, frozenset[str] | None] = {}
    for dialect in ("find", "regex"):
        checked = check(pattern, dialect, _FARM)
        assert (checked.excluded is None) == (checked.compiles is None)
        read[dialect] = checked.excluded
        assert all(len(warning) < 3 * len(pattern) + 2000 for warning in checked.warnings)
    if not masks.find_parts(pattern):
        return
    readings: tuple[tuple[Reading, tuple[Dialect, ...]], ...] = (
        ("find", ("find",)), ("regex", ("regex",)), ("either", ("find", "regex"))
    )  # fmt: skip
    for reading, dialects in readings:
        try:
            mask = joined(_mask_in, pattern, reading, inside=_POOL, known=_FARM, accept=("regex", "find"))
        except RequestRefused as refusal:
            assert refusal.code in _CODES
            assert len(refusal.message) < 2000
            continue
        excluded = masks.hosts_found(mask.text, _FARM) if mask.type == "find" else masks.hosts_matched(mask.text, _FARM)
        theirs = [read[dialect] for dialect in dialects]
        assert excluded == set(_FARM).difference(_POOL).union(*(hosts or () for hosts in theirs))
        assert len(mask.text.encode()) <= masks.LENGTH_LIMIT


def _mask_in(accept: tuple[Dialect, ...]) -> Mask:
    return exclude_mask(_POOL, _FARM, accept=accept, style="complement")


# std::regex tries every way in turn, and there may be more than its time or its stack allow.
_SHORT_NAMES = ["", "a", "ab", "aab", "a-1", "pc-01", "pc-0", "1", "-", "é", "a\nb", "A"]
_PATIENCE = 2.0


class _StdRegex:
    """The other implementation: libstdc++'s own, which afserver is built with."""

    def __init__(self, binary: Path, running: contextlib.ExitStack) -> None:
        self._binary, self._running = binary, running
        self._oracle = running.enter_context(judges.Oracle(binary))

    def check(self, data: bytes) -> None:
        pattern = data[:60].decode("utf-8", "replace")
        if "\0" in pattern or not masks.find_parts(pattern):
            return
        try:
            node = ecmascript.parse(pattern)
            if may_explode(node) or ecmascript.states(node) > 2000:
                return
            matched: set[str] | None = matching(pattern, _SHORT_NAMES)
        except ecmascript.NotCompiled:
            matched = None
        except ecmascript.NotJudged:
            return
        verdict = self._ask(pattern)
        if verdict is None:
            return
        assert verdict.compiled == (matched is not None), (pattern, verdict.error)
        if matched is not None:
            assert verdict.excluded == matched, pattern
            assert ecmascript.states(node) >= verdict.states, pattern

    def _ask(self, pattern: str) -> judges.Verdict | None:
        """None if it would take forever, or if the program crashes; then a new one replaces it."""
        watch = threading.Timer(_PATIENCE, self._oracle.kill)
        watch.start()
        try:
            return self._oracle.ask(pattern, "regex", _SHORT_NAMES)
        except judges.OracleDied:
            self._oracle = self._running.enter_context(judges.Oracle(self._binary))
            return None
        finally:
            watch.cancel()


@contextlib.contextmanager
def _std_regex(folder: Path) -> Iterator[Check]:
    compiler = shutil.which("g++")
    assert compiler is not None, "There is no g++ to compile tests/oracle/oracle.cpp with."
    with contextlib.ExitStack() as running:
        yield _StdRegex(judges.build(compiler, folder), running).check


def _changed_pattern(data: bytes, random: Random) -> bytes:
    if not random.randint(0, 4):
        return changed_text(data, random)
    return edited(data.decode("utf-8", "replace"), random, _PARTS).encode("utf-8", "surrogatepass")


_SEEDS = (
    b"pc-02|pc-04|pc-05",
    b"(?!(?:pc-01|pc-03)$).*",
    b"pc-0[245]",
    rb"(a|b)*?[^c-e]{2,3}\.\d+(?=x)$",
    "[é-ü]+|[[:alpha:]_]\\B".encode(),
)

TARGETS = (
    Target("patterns", stateless(check_pattern), lambda: _SEEDS, _changed_pattern),
    Target("std-regex", _std_regex, lambda: _SEEDS, _changed_pattern),
)
