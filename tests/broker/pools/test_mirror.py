"""The hosts of a pool that follows one of Afanasy's own."""

from __future__ import annotations

import datetime as dt

import pytest

from afpools_broker.farm.farm import Farm, Render
from afpools_broker.pools.mirror import Existence, Mirrored, is_within, mirrored, renders_within, why_not_there
from afpools_broker.pools.pool import Pool

FARM = Pool("farm", ("a", "b"), follows="/local/farm")
NOON = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)


def farm(**where: str) -> Farm:
    return Farm(tuple(Render(name, native_pool=path) for name, path in where.items()), NOON)


@pytest.mark.parametrize(
    ("native", "path", "within"),
    [
        ("/local/farm", "/local/farm", True),
        ("/local/farm/gpu", "/local/farm", True),
        ("/local/farm", "/local", True),
        ("/local", "/local/farm", False),
        # afserver compares texts, and would allow a job for /local on it (measured on 3.4.1).
        ("/localhost", "/local", False),
        ("/anything", "/", True),
        ("/", "/", True),
        ("", "/", False),
    ],
)
def test_a_pool_of_afanasy_is_its_whole_branch(native: str, path: str, within: bool) -> None:
    assert is_within(native, path) is within


def test_a_render_that_joins_comes_last_and_one_that_is_elsewhere_leaves() -> None:
    where = {"c": "/local/farm/gpu", "b": "/local/farm", "a": "/local"}
    assert mirrored(FARM, where, Existence.UNKNOWN) == Mirrored(("b", "c"))


def test_a_host_that_is_not_listed_stays_until_it_counts_as_deleted() -> None:
    assert mirrored(FARM, {"b": "/local/farm"}, Existence.UNKNOWN) == Mirrored(("a", "b"))
    assert mirrored(FARM, {"b": "/local/farm"}, Existence.UNKNOWN, {"a"}) == Mirrored(("b",))


def test_a_render_with_unknown_pool_stays() -> None:
    assert mirrored(FARM, {"a": "", "b": "/local/farm"}, Existence.UNKNOWN) == Mirrored(("a", "b"))


def test_a_pool_without_renders_is_empty_only_if_afserver_says_that_it_exists() -> None:
    elsewhere = {"a": "/", "b": "/local"}
    assert mirrored(FARM, elsewhere, Existence.THERE) == Mirrored(())
    assert mirrored(FARM, elsewhere, Existence.GONE) == Mirrored(
        ("a", "b"),
        "afserver has no pool '/local/farm' any more. The pool 'farm', which follows it, keeps its last 2 hosts. Make "
        "that pool again in Afanasy, or run `afpools pool unfollow farm`.",
    )
    assert mirrored(FARM, elsewhere, Existence.UNKNOWN) == Mirrored(
        ("a", "b"),
        "What is in afserver's pool '/local/farm' is not known now. The pool 'farm', which follows it, keeps its last "
        "2 hosts.",
    )


@pytest.mark.parametrize("existence", Existence)
def test_renders_that_are_all_missing_at_once_do_not_empty_a_pool(existence: Existence) -> None:
    outcome = mirrored(FARM, {"x": "/"}, existence, {"a", "b"})
    assert outcome.hosts == ("a", "b")
    assert "keeps its last 2 hosts" in outcome.problem


def test_the_renders_of_a_branch() -> None:
    assert renders_within(farm(c="/local/farm", a="/local", b="/"), "/local") == ("a", "c")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/local/fram", "Did you mean /local/farm?"),
        ("local/farm", "Did you mean /local/farm?"),
        ("/farm", "Did you mean /local/farm?"),
        ("/Local", "Did you mean /local?"),
        ("/nothing", "There are: /, /local, /local/farm, /local/farm/gpu."),
    ],
)
def test_a_mistyped_path_suggests_what_may_be_meant(path: str, said: str) -> None:
    text = why_not_there(farm(a="/local/farm", b="/local/farm/gpu"), path)
    assert text == f"No render of the farm is in a pool {path!r} of Afanasy. {said}"
