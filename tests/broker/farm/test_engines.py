"""What renders' versions mean for masks."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from tests.afserver import recording

from afpools_broker.farm.engines import Engines, engines_of, untyped_as
from afpools_broker.farm.farm import Farm, Render, parse_renders


def farm(*engines: str, state: str = "online") -> list[Render]:
    return [Render(f"pc-{number}", (state,), engine=engine) for number, engine in enumerate(engines, 1)]


def test_the_recorded_farm_reads_find() -> None:
    renders = parse_renders(json.dumps(recording("renders_get")["answer"]).encode())
    assert engines_of(renders) == Engines()


@pytest.mark.parametrize("engine", ["3.4.0", "3.4", "3.4.1", "3.10.0", "4.0", "3.4.1.2"])
def test_versions_since_mask_types(engine: str) -> None:
    assert engines_of(farm(engine)) == Engines()


@pytest.mark.parametrize("engine", ["3.3.1", "3.3.99", "2.3.1", "3.3", "1.7.2.8"])
def test_one_older_render_is_enough_even_offline(engine: str) -> None:
    assert engines_of(farm(engine)).all_old
    mixed = engines_of([*farm("3.4.1", "3.4.1"), Render("old", ("offline",), engine=engine)])
    assert f"the render 'old' runs Afanasy {engine}, and before 3.4.0" in mixed.no_find
    assert not mixed.all_old


@pytest.mark.parametrize(
    "engine", ["devel", "3.4.1-rc", "v3.4.1", "3", "3.4.x", " 3.4.1", "3.4.1\n", "\u0663.4.1", "3..4"]
)
def test_a_version_that_cannot_be_read_counts_as_old(engine: str) -> None:
    engines = engines_of(farm("3.4.1", engine))
    assert "'pc-2' reports" in engines.no_find
    assert not engines.all_old


def test_a_render_that_was_never_online_has_no_version_and_is_ignored() -> None:
    never = [Render("new", ("offline",)), Render("newer")]
    assert engines_of([*farm("3.4.1"), *never]) == Engines()
    assert engines_of([*farm("3.3.1"), *never]).all_old


def test_a_render_that_is_online_without_a_version_counts_as_old() -> None:
    assert "'pc-2' does not report its version" in engines_of(farm("3.4.1", "")).no_find


@pytest.mark.parametrize("state", ["online", "offline"])
def test_a_farm_without_any_version_is_given_no_find(state: str) -> None:
    engines = engines_of(farm("", "", state=state))
    assert "no render of this farm reports" in engines.no_find
    assert not engines.all_old


def test_the_oldest_is_named() -> None:
    assert "'pc-3' runs Afanasy 3.2.9" in engines_of(farm("3.4.1", "3.3.1", "3.2.9", "3.2.9")).no_find


NEW, OLD, MIXED = farm("3.4.1"), farm("3.3.1"), farm("3.4.1", "3.3.1")


@pytest.mark.parametrize(
    ("renders", "regex_users", "user", "reading"),
    [
        (NEW, {"rex"}, "rex", "regex"),
        (NEW, {"rex"}, "anna", "find"),
        (NEW, {"rex"}, "Rex", "either"),
        (NEW, {"rex"}, "", "either"),
        (NEW, set(), "", "find"),
        (NEW, None, "anna", "either"),
        (OLD, None, "", "regex"),
        (OLD, set(), "anna", "regex"),
        (MIXED, {"rex"}, "rex", "regex"),
        (MIXED, {"rex"}, "anna", "either"),
    ],
)
def test_a_job_without_a_type_is_read_as_its_user_is_or_as_an_old_farm_does(
    renders: list[Render], regex_users: set[str] | None, user: str, reading: str
) -> None:
    users = None if regex_users is None else frozenset(regex_users)
    seen = Farm(tuple(renders), dt.datetime.now(dt.UTC), regex_users=users)
    assert untyped_as(seen, engines_of(renders), user) == reading


def test_without_afserver_nobody_can_say_how_a_job_is_read() -> None:
    assert untyped_as(None, Engines(), "anna") == "either"
