"""Wordings that we have had to correct before stay out of code, messages, pages and documentation.

A pattern here is easy to find and nearly always wrong. If one is right after all, rewrite the sentence anyway: it is
short.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What to look for, and what to write instead.
PATTERNS = {
    r"(is|are|was|were) no (renders?|ports?|names?|endpoints?|dates?|pools?|masks?|hosts?|backup|list)\b": "is not a …",
    r"is none of (?!the|it|that|them|these|those|your)": "is not one of …",
    r"\d+ is no (?!longer|more)": "is not a valid …",
    r"(is|are|was|were) not \w+ed yet\b": "has not been …ed yet",
    r"was not (asked|told|seen|made|read|changed|done) yet\b": "has not been … yet",
    r"has expired on\b": "expired on",
    r"cannot be had\b": "is not available",
    r"(parted|separated) by blanks\b": "separated by spaces",
    r"Shown is\b": "Showing …",
    r"it compiles no longer list": "std::regex cannot compile a longer list",
    r"(goes|go|going|went) on to (work|count|run|show|listen|keep)\b": "keeps working",
    r"(is|are|was|were) let in\b": "is allowed to connect",
    r"lets (anybody|nobody|somebody) in\b": "allows anybody to connect; rejects everyone",
    r"[Mm]end(s|ed|ing)? (that|this|it|them|the)\b": "fix",
    r"(database|store|afserver|broker|server) (is|was|has been) away\b": "is unreachable",
    r"in the very moment\b": "just as",
    r"in the moment in which\b": "just as",
    r"takes a manager'?s? (credential|profile)": "needs a manager profile",
    r"[Ss]hould the \w+ go away": "If the … goes down",
    r"[Pp]uts? (it )?right\b": "fix",
    r"all is well\b": "no problems found",
    r"for ever\b": "forever",
    r"\byet to come\b": "not set up yet",
    r"nothing to say against\b": "no problems found",
    r"where there (is|are) none\b": "if there is none",
    r"where there is no (afserver|broker|such|pool|list)\b": "without …; if there is no …",
    r"(pools|documents|certificates|authorities) of one name\b": "with one name",
    r"at (its|their) (first )?hand\b": "available",
    r"without a word\b": "silently",
    r"turn(s|ed)? (us|him|them|you) away\b": "rejects",
    r"[Nn]o (pool|job|host)s? fits?\b": "no … matches",
    r"(see|sees|seen|saw) to it that\b": "makes sure that",
    r"(come|comes|came) behind\b": "follows",
    r"as (CGRU|Afanasy|afserver|afjob\.py|the wire|a profile) has (it|them)\b": "as … writes, reports or takes it",
    r"signs? of life\b": "heartbeat",
    r"(for|of) which nobody (chooses|chose|says)\b": "without a chosen …",
    r"goes before the (node|studio|profile)'s\b": "overrides",
    r"for want of\b": "for lack of; because … is missing",
    r"\b(is|are|was|were) taken for\b": "is mistaken for, counts as",
    r"not there any more\b": "no longer exists",
    r"good no more\b": "no longer valid",
    r"cut in pieces\b": "cut into pieces",
    r"\bhosts to come\b": "hosts that register later",
    r"\bof no account\b": "that does not matter",
    r"\bsaid of itself\b": "reported about itself",
    r"\bspoils? (the|its) (file|list)\b": "makes the … invalid",
    r"\bgoes wrong while\b": "becomes invalid while",
    r"\bnothing to guess at\b": "cannot be guessed",
}
_ANY = {re.compile(rf"(?<![Tt]here )\b(?:{pattern})"): instead for pattern, instead in PATTERNS.items()}

TEXT = {".py", ".md", ".js", ".html", ".css", ".toml", ".sh", ".cmd", ".cpp", ".yml", ".json"}
FOLDERS = ("broker", "clients", "tools", "certs", "docs", "tests")
# Recordings, other people's code, and this file.
LEFT_OUT = ("/data/", "/vendor/", "/__pycache__/", "/cgru/", "tests/test_prose.py")


def texts() -> Iterator[Path]:
    """Every file that people read."""
    yield from (path for path in ROOT.iterdir() if path.suffix == ".md" or path.name == "Makefile")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in TEXT and not any(part in path.as_posix() for part in LEFT_OUT):
                yield path


def findings(text: str) -> list[str]:
    """Each wording found, with its line and what to write instead. Sentences may be broken over lines and strings."""
    # A break within a sentence, with the comment sign or quotation marks that may be around it, reads as a space.
    ends: list[int] = []  # where each line ends, in the text that is searched
    searched = ""
    for line in text.split("\n"):
        piece = re.sub(r"^\s*(#|//|\*|f?\"(?!\")|- |> )?\s*", "", line).rstrip()
        searched += piece.removesuffix('"').rstrip() + " "
        ends.append(len(searched))
    found = []
    for pattern, instead in _ANY.items():
        found += [
            f"line {bisect_right(ends, hit.start()) + 1}: {hit[0]!r}; write: {instead}"
            for hit in pattern.finditer(searched)
        ]
    return found


def test_no_corrected_wording_comes_back() -> None:
    found = {path.relative_to(ROOT).as_posix(): findings(path.read_text(errors="replace")) for path in texts()}
    assert len(found) > 200
    assert {path: hits for path, hits in found.items() if hits} == {}


@pytest.mark.parametrize(
    "sentence",
    [
        "machines in the network that are no renders yet",
        "99999 is no port: 1 to 65535 are",
        "afserver was not asked yet.",
        "the certificate has expired on 2026-11-01",
        "the list cannot be\n    # had",
        "words parted by blanks",
        "Shown is the last known state",
        "Should the broker go away, wait.",
        "No pool fits the search.",
        "It gives no signs of life.",
        '"... ignore it. Mend "\n    "that, or leave it empty."',
        "a fence is never opened for want of\n# knowledge",
        "An empty mask is taken for none.",
        "a host that is not there any more",
    ],
)
def test_the_wordings_are_found(sentence: str) -> None:
    assert findings(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "there is no pool of that name",
        "Pools have not been asked for yet.",
        "99999 is not a valid port (use 1 to 65535).",
        "It is no longer trusted.",
        "Job 812 is no longer on the farm.",
    ],
)
def test_plain_english_is_not_found(sentence: str) -> None:
    assert not findings(sentence)
