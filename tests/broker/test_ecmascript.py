"""Expressions are read as std::regex reads them: what it refuses is refused, what it matches is matched."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.oracle import Oracle

from afpools_broker.ecmascript import NotCompiled, NotJudged, matching, parse, states

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
        return  # nothing but separators, which afserver takes for empty
    assert matched == verdict.excluded
    assert states(parse(pattern)) >= verdict.states


@pytest.mark.parametrize("pattern", ["[ab]" * 12 + "x" * 20_000, "([ab]?" * 12 + "(x)" * 4000 + ")" * 12])
def test_an_expression_for_many_long_names_does_not_fill_the_memory(pattern: str) -> None:
    hosts = [f"pc-{n}" for n in range(5000)]
    tracemalloc.start()
    try:
        assert matching(pattern, hosts) == set()
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
