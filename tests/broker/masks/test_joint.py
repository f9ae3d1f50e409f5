"""A pool's mask joined with the one that the job has already."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.made_mask import exclude_mask

from afpools_broker.masks import exclude as masks
from afpools_broker.masks.exclude import Mask, hosts_found, hosts_matched
from afpools_broker.masks.joint import joined
from afpools_broker.protocol import Code, Dialect, Reading, RequestRefused

FARM = ["pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-1", "pc-10", "node.a", "node-a"]
BOTH: tuple[Dialect, ...] = ("regex", "find")


def join(
    inside: Collection[str],
    own: str,
    reading: Reading = "either",
    *,
    known: Collection[str] = FARM,
    accept: Sequence[Dialect] = BOTH,
    style: masks.Style = "complement",
    max_bytes: int = masks.LENGTH_LIMIT,
) -> Mask:
    def mask_in(dialects: tuple[Dialect, ...]) -> Mask:
        return exclude_mask(inside, known, accept=dialects, style=style, max_bytes=max_bytes)

    return joined(mask_in, own, reading, inside=inside, known=known, accept=accept, max_bytes=max_bytes)


def let_through(mask: Mask, known: Collection[str] = FARM) -> set[str]:
    assert mask.type != "any"
    names = sorted(known)
    return set(names) - (hosts_found(mask.text, names) if mask.type == "find" else hosts_matched(mask.text, names))


def refused(*args: object, **kwargs: object) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        join(*args, **kwargs)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("reading", ["find", "regex", "either"])
@pytest.mark.parametrize("style", ["list", "compact", "complement"])
@pytest.mark.parametrize("accept", [BOTH, ("find", "regex"), ("regex",)])
def test_both_masks_hold(reading: Reading, style: masks.Style, accept: tuple[Dialect, ...]) -> None:
    mask = join({"pc-01", "pc-02", "pc-03"}, "pc-02|pc-05", reading, accept=accept, style=style)
    assert let_through(mask) == {"pc-01", "pc-03"}
    assert (mask.pool_hosts, mask.excluded_hosts) == (2, len(FARM) - 2)


def test_the_pools_part_still_covers_hosts_that_register_later() -> None:
    mask = join({"pc-01", "pc-02"}, "pc-02")
    assert mask.covers_future_hosts
    assert let_through(mask, [*FARM, "new-1", "pc-011"]) == {"pc-01"}


def test_a_mask_that_looks_like_a_regex_on_a_job_without_a_type_excludes_what_it_was_meant_to() -> None:
    assert let_through(join({"pc-01", "pc-02", "pc-03"}, "pc-0[23]")) == {"pc-01"}


def test_a_prefix_on_a_job_without_a_type_excludes_all_hosts_that_begin_with_it() -> None:
    assert let_through(join({"pc-01", "pc-1", "pc-10"}, "pc-1")) == {"pc-01"}


def test_an_invalid_regex_is_read_as_find_on_a_job_without_a_type() -> None:
    farm = ["pc(1", "pc(2", "pc-3"]
    assert let_through(join({"pc(1", "pc-3"}, "pc(1", known=farm), farm) == {"pc-3"}


def test_a_mask_that_afserver_would_not_compile_is_refused_and_named() -> None:
    refusal = refused({"pc-01"}, "pc-0[", "regex")
    assert refusal.code == Code.BAD_REQUEST
    assert "'pc-0['" in refusal.message


def test_a_mask_whose_meaning_is_not_known_is_refused() -> None:
    refusal = refused({"pc-01", "pc-02"}, r"(pc)-\1", "either")
    assert (refusal.code, "back-reference" in refusal.message) == (Code.BAD_REQUEST, True)


def test_masks_that_leave_no_host_are_refused() -> None:
    refusal = refused({"pc-01", "pc-02"}, ".*")
    assert refusal.code == Code.EMPTY_POOL
    assert "none of the pool's 2 hosts" in refusal.message


def test_a_regex_cannot_be_joined_where_only_find_can_be_set() -> None:
    refusal = refused({"pc-01", "pc-02"}, "pc-0[2]", "regex", accept=("find",), style="compact")
    assert (refusal.code, "find only" in refusal.message) == (Code.MASK_NOT_EXPRESSIBLE, True)


@pytest.mark.parametrize(("reading", "accept"), [("regex", ["regex"]), ("find", ["find"]), ("either", BOTH)])
def test_two_masks_that_are_together_too_long_are_refused(reading: Reading, accept: Sequence[Dialect]) -> None:
    farm = [f"é{n * 7919 % 99991:05d}" for n in range(4000)]
    own = "é" * 12_000  # 24,000 bytes, so that either mask alone is short enough
    refusal = refused(set(farm[:500]), own, reading, known=farm, accept=accept, style="compact")
    assert refusal.code == Code.MASK_NOT_EXPRESSIBLE
    assert "bytes, and 24,576 are allowed" in refusal.message
    assert len(refusal.message) < 1000


def test_two_masks_that_together_need_too_many_states_are_refused() -> None:
    farm = [f"{n * 2654435761 % 2**32:08x}" for n in range(4000)]
    own = "z|" * 24_000 + "z"  # 96,000 states
    refusal = refused(set(farm[:2000]), own, "regex", known=farm, style="complement", max_bytes=65_536)
    assert (refusal.code, "could not compile the two masks together" in refusal.message) == (
        Code.MASK_NOT_EXPRESSIBLE,
        True,
    )


def test_two_masks_whose_joint_size_is_not_known_are_refused() -> None:
    refusal = refused({"pc-01"}, "x{9000}x{7660}", "regex")
    assert (refusal.code, "cannot tell" in refusal.message) == (Code.MASK_NOT_EXPRESSIBLE, True)


def test_a_mask_that_afserver_would_not_read_to_its_end_is_refused() -> None:
    for reading in ("find", "regex", "either"):
        refusal = refused({"pc-01"}, "pc-02\0", reading)
        assert (refusal.code, "NUL" in refusal.message) == (Code.BAD_REQUEST, True)


def test_names_of_two_lines_are_excluded_by_their_beginnings() -> None:
    farm = ["a\nb", "a\r", "c", "d"]
    assert let_through(join({"a\nb", "a\r", "c"}, "a", "find", known=farm, accept=["regex"]), farm) == {"c"}


@pytest.mark.parametrize("own", ["pc-0[2-9].*", "(?!x).*7", "render-a-00012"])
def test_a_large_farm_does_not_take_forever(own: str) -> None:
    farm = [f"{name}-{n:05}" for name in ("pc", "gpu", "render-a", "ws") for n in range(25_000)]
    inside = set(farm[::200])
    mask = join(inside, own, "regex", known=farm)
    assert mask.pool_hosts == sum(re.fullmatch(own, host) is None for host in inside)


def test_find_is_kept_if_it_can_express_both() -> None:
    mask = join({"pc-01", "pc-02", "pc-03"}, "pc-02, pc-05", "find", accept=("find",), style="compact")
    assert mask.type == "find"
    assert let_through(mask) == {"pc-01", "pc-03"}


def test_a_host_of_the_pool_that_nobody_knows_yet_is_let_through() -> None:
    mask = join({"pc-01", "pc-02", "new"}, "pc-02", "find")
    assert let_through(mask, [*FARM, "new"]) == {"pc-01", "new"}
    assert mask.pool_hosts == 2


@pytest.mark.parametrize(("own", "mask_type"), [("pc-02", "find"), ("pc-0[2]", "regex")])
def test_plain_names_on_a_job_without_a_type_can_be_expressed_as_find(own: str, mask_type: Dialect) -> None:
    assert join({"pc-01", "pc-02"}, own, accept=("find", "regex"), style="list").type == mask_type
    if mask_type == "regex":
        assert "find only" in refused({"pc-01", "pc-02"}, own, accept=("find",), style="list").message


@pytest.mark.parametrize("wrong", ["pc-03", "pc-0", "", ".*"])
@pytest.mark.parametrize("dialect", ["find", "regex"])
def test_a_wrong_joint_mask_is_not_returned(wrong: str, dialect: Dialect) -> None:
    made = exclude_mask({"pc-01", "pc-02"}, FARM, accept=[dialect], style="compact")
    with pytest.raises(masks.MaskProofError, match=f"joint {dialect} mask .* wrong about"):
        joined(
            lambda _: replace(made, text=wrong),
            "pc-02",
            dialect,
            inside={"pc-01", "pc-02"},
            known=FARM,
            accept=[dialect],
        )


NAMES = st.lists(st.text("ab1.-|(", min_size=1, max_size=5), min_size=1, max_size=12, unique=True)
# Expressions that Python's `re`, the judge here, and ECMAScript read alike.
OWN = st.lists(st.sampled_from(["a", "b", "1", "-", "|", "[ab]", "(a|1)", "b?", ".*"]), min_size=1, max_size=6)


@given(NAMES, st.data())
def test_a_job_runs_on_the_hosts_that_both_masks_allow_or_is_refused(known: list[str], data: st.DataObject) -> None:
    inside = set(data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True)))
    own = data.draw(OWN.map("".join).filter(masks.find_parts))
    reading: Reading = data.draw(st.sampled_from(["find", "regex", "either"]))
    allowed = set(inside)
    if reading != "regex":
        allowed = {name for name in allowed if not name.startswith(tuple(masks.find_parts(own)))}
    if reading != "find":
        allowed = {name for name in allowed if not re.fullmatch(own, name)}
    accept = data.draw(st.sampled_from([BOTH, ("find",), ("regex",)]))
    style: masks.Style = data.draw(st.sampled_from(["list", "compact", "complement"]))
    try:
        mask = join(inside, own, reading, known=known, accept=accept, style=style)
    except RequestRefused as refusal:
        assert not allowed or "regex" not in accept, refusal.message
    else:
        assert mask.type in accept
        assert let_through(mask, known) == allowed
