"""A foreign mask is read as afserver would read it, with warnings about surprising effects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import Oracle

from afpools_broker.farm.engines import engines_of
from afpools_broker.farm.farm import Render
from afpools_broker.masks.check import check
from afpools_broker.protocol import Dialect

FARM = ["pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-1", "pc-10"]


def warned(pattern: str, dialect: Dialect, farm: list[str] = FARM) -> str:
    return " ".join(check(pattern, dialect, farm).warnings)


@pytest.mark.parametrize("dialect", ["find", "regex"])
@pytest.mark.parametrize(
    "pattern",
    [
        "pc-02|pc-04",
        "pc-0[245]",
        "(?!(?:pc-01|pc-03)$).*",
        "pc-.*",
        ".*",
        "",
        "|",
        "pc-0[",
        r"(?:pc-)?\d+",
        "^pc-01$",
        "*",
    ],
)
def test_it_excludes_what_afserver_would_exclude(oracle: Oracle, pattern: str, dialect: Dialect) -> None:
    checked, verdict = check(pattern, dialect, FARM), oracle.ask(pattern, dialect, FARM)
    assert checked.compiles == verdict.compiled
    assert checked.excluded == verdict.excluded


def test_a_correct_mask_raises_no_warning() -> None:
    assert check("pc-02|pc-04|pc-05", "find", FARM).warnings == ()
    assert check("pc-02|pc-04|pc-05", "regex", FARM).warnings == ()


def test_a_regex_under_find_is_noticed() -> None:
    assert "looks like a regex" in warned("pc-0[245]", "find")
    assert "excludes no host" in warned("pc-0[245]", "find")


def test_a_name_that_others_begin_with_is_noticed() -> None:
    assert "'pc-1' excludes 'pc-10' too" in warned("pc-1|pc-02", "find")
    assert "Without it the mask may be read as find, and then it excludes 'pc-10' too." in warned("pc-1", "regex")


def on_a_farm_of(pattern: str, dialect: Dialect, *versions: str) -> str:
    renders = [Render(f"pc-{number}", engine=version) for number, version in enumerate(versions)]
    return " ".join(check(pattern, dialect, FARM, engines_of(renders)).warnings)


def test_warnings_about_mask_types_depend_on_the_farms_versions() -> None:
    said = on_a_farm_of("pc-1", "regex", "3.4.1")
    assert "Without it this farm reads the mask, unless the job's user is set to regex, as find, and then it" in said
    # A farm that reads every mask as regex cannot misread it as find.
    assert on_a_farm_of("pc-1", "regex", "3.3.1") == ""
    assert "Without it the mask may be read as find" in on_a_farm_of("pc-1", "regex", "3.3.1", "3.4.1")
    assert on_a_farm_of("pc-02", "find", "3.4.1") == ""
    assert "This farm reads no mask as find: the render 'pc-0' runs Afanasy 3.3.1" in on_a_farm_of(
        "pc-02", "find", "3.3.1"
    )
    assert "This farm may not read this as find" in on_a_farm_of("pc-02", "find", "3.3.1", "3.4.1")


names = st.text(alphabet="ab1-é😀\U0010ffff", min_size=1, max_size=4)


@given(farm=st.lists(names, max_size=40), parts=st.lists(names, min_size=1, max_size=8))
def test_every_name_that_others_begin_with_is_noticed_and_no_other(farm: list[str], parts: list[str]) -> None:
    noticed = []
    for part in sorted(set(parts) & set(farm)):
        longer = sorted({host for host in farm if host.startswith(part) and host != part})
        if longer:
            more = f" and {len(longer) - 5} more" if len(longer) > 5 else ""
            noticed.append(f"{part!r} excludes {', '.join(map(repr, longer[:5]))}{more} too")
    warnings = [w for w in check("|".join(parts), "find", farm).warnings if " too, because " in w]
    assert [w.partition(", because ")[0] for w in warnings] == noticed


@pytest.mark.parametrize("pattern", ["pc-0[", "(pc-01", "pc-01)", "*", "a{2", "[b-a]", "(?<a>b)", "\\", "[[:pc:]]"])
def test_what_afserver_cannot_compile_excludes_nothing(oracle: Oracle, pattern: str) -> None:
    checked = check(pattern, "regex", FARM)
    assert (checked.compiles, checked.excluded) == (False, frozenset())
    assert "the job runs on every host" in checked.warnings[0]
    assert not oracle.ask(pattern, "regex", []).compiled


def test_nine_thousand_names_are_known_not_to_compile() -> None:
    checked = check("|".join(f"render-{n:05d}" for n in range(9000)), "regex", FARM)
    assert checked.compiles is False
    assert "135,001 states, and libstdc++ allows 100,000" in checked.warnings[0]


@pytest.mark.parametrize(
    "pattern",
    [r"(pc)-\1", "[[=a=]]", "(" * 200 + ")" * 200, "(?=x|y" * 149 + ")" * 149, "a{20000}", "(?:a{1000}){100}"],
)
def test_an_unknown_effect_is_reported_as_unknown(pattern: str) -> None:
    checked = check(pattern, "regex", FARM)
    assert (checked.compiles, checked.excluded) == (None, None)
    assert "cannot tell" in checked.warnings[0]


def test_an_expression_that_takes_forever_does_not_take_us_forever() -> None:
    farm = ["a" * 60 + str(n) for n in range(200)]
    assert "minutes" in warned("(a+)+b", "regex", farm)
    assert check("((a|b|ab)*(a|ba)*)*x", "regex", ["ab" * 120] * 2000).excluded in (frozenset(), None)


def test_a_mask_ends_where_it_ends_for_afserver() -> None:
    checked = check("pc-01\0|pc-02", "find", FARM)
    assert checked.excluded == {"pc-01"}
    assert "it reads only 'pc-01'" in checked.warnings[0]


def test_other_traps_are_noticed() -> None:
    assert "empty" in warned(" ;", "regex")
    assert "every host" in warned("pc", "find")
    assert "In lower case it would" in warned("PC-01", "find")
    for dialect in ("find", "regex"):
        assert "'PC-01' would exclude hosts only in lower case" in warned("PC-01|pc-02", dialect)
    assert warned("PC-0[13]|pc-02", "regex").count("case") == 0
    assert "command line" in warned("pc-01|" * 10_000, "find")


def test_a_regex_is_recognised_by_its_characters() -> None:
    for character in r"\^$*+?()[]{}":
        assert "looks like a regex" in warned(f"pc{character}01", "find")
    assert "looks like a regex" in warned("pc-01.", "find")
    # Names may contain a dot, and the other characters separate names.
    for plain in ("pc-01.studio.lan", "pc-01|pc-02", "pc-01, pc-02", "pc_01"):
        assert "looks like a regex" not in warned(plain, "find")


def test_hosts_that_find_would_miss_are_named() -> None:
    assert "Without it the mask may be read as find, and then it does not exclude 'pc-02', 'pc-03'." in warned(
        "pc-0[23]", "regex"
    )
    both = warned("pc-1|pc-0[23]", "regex")
    assert "it excludes 'pc-10' too and does not exclude 'pc-02', 'pc-03'." in both


def test_a_mask_without_any_parts_is_only_reported_as_empty() -> None:
    for dialect in ("find", "regex"):
        assert len(check(" ;", dialect, FARM).warnings) == 1
    assert len(check("pc-0[", "regex", FARM).warnings) == 1
    assert len(check(r"(pc)-\1", "regex", FARM).warnings) == 1


def test_on_a_farm_without_hosts_no_warning_is_about_hosts() -> None:
    assert check("pc-01", "find", []).warnings == ()


def test_case_is_blamed_only_if_lower_case_would_help() -> None:
    farm = [*FARM, "LT-07"]
    assert "case" not in warned("LT-07|pc-02", "find", farm)
    assert "case" not in warned("WS-99|pc-02", "find", farm)
    assert "case" not in warned("ws-99", "find", farm)
    assert "case" not in warned("WS-99", "find", farm)
    # \\D is not \\d in capitals.
    assert "case" not in warned(r"pc\D\D01", "regex", farm)
    assert "'PC-01' would" in warned("PC-01, pc-02", "find", farm)
    assert "'PC-01,x'" not in warned("PC-01,x|pc-02", "regex", farm)
    # In lower case, the mask would exclude lt-07, if the host were spelled that way.
    assert "'Lt-07' would exclude hosts only in lower case" in warned("Lt-07|pc-02", "find", farm)
