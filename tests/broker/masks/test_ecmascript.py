"""Expressions are read as std::regex reads them: what it refuses is refused, what it matches is matched."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.oracle import Oracle

from afpools_broker.masks.ecmascript import _NAMED_CLASSES, NotCompiled, NotJudged, parse, states
from afpools_broker.masks.matching import matching

NAMES = [
    *"ab120x-_]^$\\{é \n\x01",
    "",
    "ab",
    "aab",
    "aaa",
    "abab",
    "a-",
    "b-1",
    "11",
    "aé",
    "a|b",
    "a\nb",
    "a.b",
    "pc-01",
]

against_the_oracle = settings(deadline=None, max_examples=400)

atoms = st.one_of(
    st.sampled_from(["a", "b", "-", "1", "é", "]", "}", " ", ".", "^", "$", r"\b", r"\B"]),
    st.sampled_from([r"\.", r"\d", r"\W", r"\s", r"\n", r"\x61", r"\-", r"\c", "[ab]", "[^a]", "[a-b1]", "[]", "[^]"]),
    st.sampled_from(["[-a]", "[a-]", "[a-b-1]", "[[:alpha:]_]", r"[\d-]", r"[\]^]", r"[\b]", "[é]", "[a-é]", "[é-a]"]),
)
quantifiers = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "??", "{2}?", "{0}"])
expressions = st.recursive(
    st.builds(lambda atom, times: atom + times, atoms, quantifiers),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, max_size=4).map("|".join),
        st.builds(
            lambda opening, body, times: f"{opening}{body}){times}", st.sampled_from(["(", "(?:"]), inner, quantifiers
        ),
        st.builds(lambda opening, body: f"{opening}{body})", st.sampled_from(["(?=", "(?!"]), inner),
    ),
    max_leaves=8,
)
noise = st.text(alphabet=r"ab1-^$\.*+?()[]{}|,:=!dwx\né0" + "\n", max_size=10)


@given(pattern=expressions | noise)
@example(pattern="(?:a|b)*?b")
@example(pattern="a(?=^b)b")
@example(pattern=r"a(?=\bb)b")
@example(pattern="[[.a.]]")
@example(pattern="(a)\\1")
@against_the_oracle
def test_every_expression_is_read_as_std_regex_reads_it(oracle: Oracle, pattern: str) -> None:
    verdict = oracle.ask(pattern, "regex", NAMES)
    try:
        matched = matching(pattern, NAMES)
    except NotCompiled:
        assert not verdict.compiled, pattern
        return
    except NotJudged:
        return
    assert verdict.compiled, f"{pattern!r}: {verdict.error}"
    if not verdict.states:
        return  # nothing but separators: an empty mask to afserver
    assert matched == verdict.excluded
    assert states(parse(pattern)) >= verdict.states


# Every one-byte character, and the texts that the expressions below are about.
ODD_NAMES = [
    *map(chr, range(1, 0x80)),
    *(
        "",
        "é",
        "\u0080",
        "ÿ",
        "\U0010ffff",
        "aa",
        "aaa",
        "a1",
        "a4",
        "ab",
        "ba",
        "a-",
        "A0",
        "aé",
        "\r\n",
        "a{",
        "a{2",
        "a}",
    ),
]


@pytest.mark.parametrize(
    "pattern",
    [
        *(rf"\{letter}" for letter in "dDsSwW"),
        *(f"[[:{name}:]]" for name in _NAMED_CLASSES),
        *(rf"[^\{letter}]" for letter in "dDsSwW"),
        *("[[:ALPHA:]]", "[[:foo:]]", "[[::]]", "[[:alpha:", "[[:alpha:]", "[:alpha:]", "[[:", "[^[:alpha:][:digit:]]"),
        # Bytes are signed: those of multi-byte characters come before the others.
        *(
            r"[\x80-\xff]+",
            r"[\x80-\x7f]+",
            r"[\x7f-\x80]",
            r"[\x00-\x7f]",
            r"[\x00-\x20]",
            r"[\xfe-\xff]",
            r"[a-\xff]",
        ),
        *(r"[\x80-\x80]+", r"[\xbf\xc3]*", r"[^\x80-\xff]", r"[\x7f-\x7f]", ".", "..", "....", "[^]", "[]", "[^a]+"),
        *(
            "[a--]",
            "[--a]",
            "[--]",
            "[-]",
            "[a-]",
            "[-a]",
            "[a-b-c]",
            "[a-a]",
            "[b-a]",
            "[]a]",
            "[a",
            "[",
            "[^",
            "[a-",
            "[a-b",
        ),
        *(
            r"[\d-z]",
            r"[a-\d]",
            "[[:alpha:]-z]",
            "[a-[:alpha:]]",
            "[\\",
            r"[\b]",
            r"[\B]",
            r"[\1]",
            r"[\-a]",
            r"[a\]]",
            "[.]",
        ),
        *(r"\x4", r"\x41", r"\x410", r"\xg0", r"\u004", r"\u0041", r"\u00410", r"\u0141", r"\u00é1", r"\x6A", r"\x6a"),
        *(r"\ca", r"\c", r"a\c1", r"\cA0", r"\0", r"\_", r"\-", r"\/", r"\é", "\\", r"\f", r"\n", r"\r", r"\t", r"\v"),
        *(
            "a{2}",
            "a{1,}",
            "a{1,2}",
            "a{2,1}",
            "a{1,1}",
            "a{0}",
            "a{,2}",
            "a{",
            "a{2",
            "a{x}",
            "a{2}{2}",
            "{2}",
            "}",
            "a}",
            "]",
        ),
        *(
            "a**",
            "a+?*",
            "a??",
            "*",
            "a|*",
            "(*)",
            "^*",
            r"\b*",
            "(?=a)*",
            "$+",
            "(?!a)?",
            "^",
            "$",
            "^$",
            "^a$",
            "a^",
            "$a",
        ),
        *(
            "(?:a)",
            "(?=a)a",
            "(?!b)a",
            "(?a)",
            "(?",
            "(?<a>a)",
            "(?:",
            "(",
            ")",
            "a)",
            "((a)",
            "()",
            "(|a)",
            "a|",
            "|a",
            "a||b",
        ),
        *("a.*", "a[^b]*", "(?:a|ab|b-)[ab1-]*", "a?b.*", ".*", "(?!a).*", "a*?", "(?:a$|b)[^]*"),
        *(r"\ba\b", r"a\Ba", r"\B", r"\b", r"a\b-", r"(?=\b)a", "(?=^a)a", "a(?=^a)a", "(?=a$)a", "(?=a(?=1))a1"),
    ],
)
def test_each_part_of_the_language_is_read_as_std_regex_reads_it(oracle: Oracle, pattern: str) -> None:
    verdict = oracle.ask(pattern, "regex", ODD_NAMES)
    try:
        matched = matching(pattern, ODD_NAMES)
    except NotCompiled:
        assert not verdict.compiled
    else:
        assert verdict.compiled, verdict.error
        assert matched == verdict.excluded or not verdict.states


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "a back-reference"),
        (r"\9", "a back-reference"),
        ("[[.a.]]", "a collating element"),
        ("[[=a=]]", "a collating element"),
        ("a{10001}", "a repetition of more than 10,000"),
        ("a{1,10001}", "a repetition of more than 10,000"),
        ("a{10001,}", "a repetition of more than 10,000"),
        (f"a{{{'9' * 5000}}}", "a repetition of more than 10,000"),
        (f"a{{1,{'9' * 5000}}}", "a repetition of more than 10,000"),
        ("(" * 101 + ")" * 101, "more than 100 nested groups"),
        ("(a)" * 50 + "(" * 101 + ")" * 101, "more than 100 nested groups"),
    ],
)
def test_an_expression_that_is_not_worked_out_says_why(pattern: str, reason: str) -> None:
    with pytest.raises(NotJudged, match=reason):
        parse(pattern)


def test_an_expression_just_within_the_limits_is_worked_out() -> None:
    assert matching("a{0,10000}", ["aaa", "b"]) == {"aaa"}
    # Groups side by side are not nested.
    assert matching("(" * 100 + "a" + ")" * 100 + "(b)" * 101, ["a" + "b" * 101]) == {"a" + "b" * 101}
