"""The list of pools for interfaces."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clients.conftest import StartBroker
from tests.clients.scripted_broker import Studio, Talk

from afpools import Profile, ProfileError
from afpools.cache import note_recent_pool
from afpools.choice import WITHOUT, Standing
from afpools.pool_menu import FRESH, Menu, PoolMenu, pool_label
from afpools.results import PoolSummary

FX = {"name": "fx", "hosts": 12, "revision": "r1", "description": "effects", "colour": "#ff0000"}
LIST = {"pools": [FX, {**FX, "name": "gpu", "hosts": 3}], "revision": "r2", "age": 0.1}


def answer(talk: Talk, request: dict[str, Any]) -> None:
    talk.answer(request, LIST)


def silent(_talk: Talk, _request: dict[str, Any]) -> None:
    pass


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "afpools")


def names(menu: Menu) -> list[str]:
    return [pool.name for pool in menu.pools]


def test_the_list_is_loaded_in_the_background(start: StartBroker, studio: Studio, cache: str) -> None:
    profile = studio.profile(start(answer).url)
    came = threading.Event()
    menu = PoolMenu(profile.folder, came.set, cache)
    first = menu.current()
    assert (names(first), first.refreshing, first.status()) == ([], True, "Asking the broker for pools…")
    assert came.wait(30)
    now = menu.current()
    assert (names(now), now.refreshing, now.status()) == (["fx", "gpu"], False, "")
    assert now.find("fx") == PoolSummary("fx", 12, "r1", "effects", "#ff0000")
    assert now.find("gone") is None


def test_a_certificate_that_expires_soon_is_mentioned_under_the_list(
    start: StartBroker, studio: Studio, cache: str
) -> None:
    profile = studio.profile(start(answer).url, client=studio.issue("anna", days=10.5))
    menu = PoolMenu(profile.folder, folder=cache)
    menu.refresh()
    now = menu.wait(30)
    assert names(now) == ["fx", "gpu"]
    assert now.status().startswith("Your certificate expires in 10 days, on 20")


def test_drawing_is_not_delayed_by_the_thread_it_starts(
    studio: Studio, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()

    def load(_folder: str) -> None:
        # Holds Python's lock, as an import or a handshake does, until it is taken away.
        began.set()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            pass
        raise ProfileError("none")

    # A turn that never ends.
    monkeypatch.setattr(Profile, "load", load)
    turn = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        menu = PoolMenu("somewhere", folder=cache)
        assert menu.current().refreshing
        assert not began.is_set()
    finally:
        sys.setswitchinterval(turn)
    assert menu.wait(30).error == "none"


def test_nobody_waits_for_a_broker_that_never_answers(start: StartBroker, studio: Studio, cache: str) -> None:
    asked = threading.Event()
    release = threading.Event()

    def hang(_talk: Talk, _request: dict[str, Any]) -> None:
        asked.set()
        release.wait(60)

    menu = PoolMenu(studio.profile(start(hang).url).folder, folder=cache, timeout=60)
    menu.refresh()
    assert asked.wait(30)
    # The request stays in progress: anything that waited for it would still be waiting.
    for _ in range(1000):
        assert menu.current().refreshing
        menu.refresh()
    release.set()


def test_a_broker_that_does_not_answer_leaves_the_last_good_list(
    start: StartBroker, studio: Studio, cache: str
) -> None:
    broker = start(answer)
    folder = studio.profile(broker.url).folder
    before = PoolMenu(folder, folder=cache)
    before.refresh()
    before.wait(30)
    broker.script = silent
    # The program starts again.
    menu = PoolMenu(folder, folder=cache, timeout=0.3)
    assert names(menu.current()) == ["fx", "gpu"]
    menu.refresh()
    failed = menu.wait(30)
    assert names(failed) == ["fx", "gpu"]
    assert failed.fetched is not None
    assert failed.status(failed.fetched + 7300).startswith("Pools of 2 hours ago. No broker answered.")


def test_an_old_list_is_requested_again_when_it_is_shown(
    start: StartBroker, studio: Studio, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start(answer)
    menu = PoolMenu(studio.profile(broker.url).folder, folder=cache)
    menu.refresh()
    menu.wait(30)
    menu.current()
    assert len(broker.requests) == 1
    later, later_still = time.time() + FRESH + 1, time.monotonic() + FRESH + 1
    monkeypatch.setattr("afpools.pool_menu.time.time", lambda: later)
    monkeypatch.setattr("afpools.pool_menu.time.monotonic", lambda: later_still)
    assert menu.current().refreshing
    menu.wait(30)
    assert len(broker.requests) == 2


def test_a_broker_that_fails_is_not_asked_at_every_drawing(tmp_path: Path, cache: str) -> None:
    menu = PoolMenu(str(tmp_path / "no profile"), folder=cache)
    menu.refresh()
    failed = menu.wait(30)
    assert "no profile" in failed.status()
    assert not any(menu.current().refreshing for _ in range(100))


def test_the_remembered_list_is_readable_by_the_user_only(start: StartBroker, studio: Studio, cache: str) -> None:
    menu = PoolMenu(studio.profile(start(answer).url).folder, folder=cache)
    menu.refresh()
    menu.wait(30)
    (file,) = Path(cache).iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(cache).stat().st_mode) == 0o700


def test_each_profile_has_its_own_list(start: StartBroker, studio: Studio, cache: str, tmp_path: Path) -> None:
    menu = PoolMenu(studio.profile(start(answer).url).folder, folder=cache)
    menu.refresh()
    menu.wait(30)
    assert PoolMenu(str(tmp_path / "other"), folder=cache).current().pools == ()


def test_a_profile_named_by_the_environment_has_its_own_list_too(
    start: StartBroker, studio: Studio, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFPOOLS_PROFILE", studio.profile(start(answer).url).folder)
    menu = PoolMenu(folder=cache)
    menu.refresh()
    assert names(menu.wait(30)) == names(PoolMenu(folder=cache).latest()) == ["fx", "gpu"]
    monkeypatch.setenv("AFPOOLS_PROFILE", str(tmp_path / "other"))
    assert PoolMenu(folder=cache).latest().pools == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"profile": OURS, "fetched": "x", "pools": []}',
        '{"profile": OURS, "fetched": 1, "pools": [{"name": 1}]}',
        '{"profile": OURS, "fetched": 1}',
        json.dumps({"profile": "OURS", "fetched": 1, "pools": [{**FX, "renders": "many"}]}).replace('"OURS"', "OURS"),
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_damaged_remembered_list_is_ignored(start: StartBroker, studio: Studio, cache: str, content: str) -> None:
    folder = studio.profile(start(answer).url).folder
    first = PoolMenu(folder, folder=cache)
    first.refresh()
    first.wait(30)
    (file,) = Path(cache).iterdir()
    file.write_bytes(content.replace("OURS", json.dumps(folder)).encode("latin-1"))
    menu = PoolMenu(folder, folder=cache)
    assert menu.current().pools == ()
    assert names(menu.wait(30)) == ["fx", "gpu"]
    assert FX.items() <= json.loads(file.read_text())["pools"][0].items()


def test_pools_of_another_profile_are_not_shown_although_their_file_has_the_same_name(
    start: StartBroker, studio: Studio, cache: str
) -> None:
    folder = studio.profile(start(answer).url).folder
    first = PoolMenu(folder, folder=cache)
    first.refresh()
    first.wait(30)
    (file,) = Path(cache).iterdir()
    assert names(PoolMenu(folder, folder=cache).latest()) == ["fx", "gpu"]
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "profile": "/another/studio"}))
    assert PoolMenu(folder, folder=cache).latest().pools == ()


# What a plug-in does from a cold start: `tests.bench_clients` times it. Each of these takes a millisecond or more to
# import, and none is needed. Modules that this Python loads by itself for an installed package do not count.
_DEAR = (
    "typing tempfile shutil random hashlib calendar datetime _strptime logging dataclasses importlib.util "
    "encodings.idna afpools.lookup zmq"
)
_FIRST_LIST = f"""
import sys
before = set(sys.modules)
import afpools.job
from afpools.pool_menu import PoolMenu

menu = PoolMenu(sys.argv[1], folder=sys.argv[2])
menu.refresh()
print([pool.name for pool in menu.wait(30).pools])
print(*sorted(set("{_DEAR}".split()) & (set(sys.modules) - before)))
"""


def test_a_plug_ins_first_list_imports_nothing_slow_and_unneeded(
    start: StartBroker, studio: Studio, cache: str
) -> None:
    folder = studio.profile(start(answer).url).folder
    command = [sys.executable, "-I", "-c", _FIRST_LIST, folder, cache]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.splitlines() == ["['fx', 'gpu']", ""]


def test_an_unwritable_folder_does_not_prevent_the_list(start: StartBroker, studio: Studio, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    menu = PoolMenu(studio.profile(start(answer).url).folder, folder=str(blocked / "cache"))
    menu.refresh()
    assert names(menu.wait(30)) == ["fx", "gpu"]


def pool(name: str, hosts: int = 32, renders: int | None = None, online: int | None = None) -> PoolSummary:
    return PoolSummary(name, hosts, "r", renders=renders, online=online)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (pool("fx", 32, 30, 24), "fx, 24 of 30 online"),
        (pool("fx", 32, 30, 0), "fx, 0 of 30 online"),
        (pool("fx", 5000, 4000, 1500), "fx, 1,500 of 4,000 online"),
        (pool("night", 32, 0, 0), "night, no machine on the farm"),
        (pool("night", 32, 0, None), "night, no machine on the farm"),
        # The whole farm is offline, as after a restart of afserver.
        (pool("fx", 32, 30, None), "fx, 30 renders"),
        # No afserver, an old list of renders, or an old broker.
        (pool("fx", 32), "fx, 32 hosts"),
        (pool("one", 1), "one, 1 host"),
        (pool("empty", 0, 0, 0), "empty, no hosts"),
        (pool("a, b"), "a, b, 32 hosts"),
    ],
)
def test_a_pool_is_shown_with_what_is_known_about_its_machines(shown: PoolSummary, words: str) -> None:
    assert pool_label(shown) == words
    assert Menu((shown,), time.time()).label(shown.name) == words
    assert words.rpartition(", ")[0] == shown.name


def test_counts_of_machines_are_not_shown_for_long() -> None:
    fx = pool("fx", 32, 30, 24)
    for fetched, error, holds in (
        (0, "", True),
        (-119, "", True),
        (-121, "", False),
        (5, "", False),
        (0, "No.", False),
    ):
        menu = Menu((fx,), time.time() + fetched, error=error)
        assert menu.counts_hold() is holds
        assert menu.label("fx") == ("fx, 24 of 30 online" if holds else "fx, 32 hosts")
    assert Menu((fx,), time.time()).label("fx", counts=False) == "fx, 32 hosts"


def test_a_label_says_which_pool_jobs_may_use_too_but_not_if_it_is_stored() -> None:
    fx = PoolSummary("fx", 32, "r1", renders=30, online=24, spill_to="a, b", spill_after=5400)
    menu = Menu((fx,), time.time())
    assert menu.label("fx") == "fx, 24 of 30 online; also a,b after 90 min"
    assert menu.label("fx").rpartition(", ")[0] == "fx"
    assert menu.label("fx", counts=False) == "fx, 32 hosts"


def test_a_label_that_may_be_read_much_later_says_when_it_was_true() -> None:
    now = time.time()
    then = time.strftime(" (%Y-%m-%d %H:%M)", time.localtime(now))
    fx = pool("fx", 32, 30, 24)
    assert Menu((fx,), now).dated_label("fx") == f"fx, 24 of 30 online{then}"
    assert Menu((fx,), now, error="No.").dated_label("fx") == f"fx, 32 hosts{then}"
    assert Menu((fx,), now).dated_label("gone") == f"gone, missing{then}"
    assert Menu((fx,), now, error="No.").dated_label("gone") == "gone, not checked yet"
    assert Menu((), None).dated_label("gone") == "gone, not checked yet"
    assert Menu((fx,), now).dated_label("") == ""


def test_a_pool_not_in_the_list_is_missing_only_if_the_list_is_current() -> None:
    now = time.time()
    for menu, words in (
        (Menu((), now), "fx, missing"),
        (Menu((), now, error="No broker answered."), "fx, not checked yet"),
        (Menu((), None), "fx, not checked yet"),
    ):
        assert menu.choices("fx") == [("", "No pool"), ("fx", words)]
        assert menu.is_missing("fx") is (words == "fx, missing")
    assert not Menu((), now).is_missing("")
    assert Menu((), now).choices() == [("", "No pool")]


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (pool("fx", 32, 30, 24), ""),
        (pool("fx", 32, 30, None), ""),
        (pool("fx", 32), ""),
        (pool("fx", 32, 30, 0), "Each of the 30 renders of the pool 'fx' is offline: the job will wait until one is"),
        (pool("fx", 32, 1, 0), "The only render of the pool 'fx' is offline: the job will wait until one is online."),
        (pool("fx", 32, 0, 0), "No host of the pool 'fx' is a machine of this farm: the job will wait until one joins"),
        (pool("fx", 0, 0, 0), "The pool 'fx' has no hosts, so no job can be sent to it."),
        (pool("vfx"), "fx is missing: choose another pool, or No pool."),
    ],
)
def test_a_pool_that_can_run_nothing_now_gets_a_warning(shown: PoolSummary, words: str) -> None:
    said = Menu((shown,), time.time()).warning("fx")
    assert said.startswith(words)
    assert bool(said) is bool(words)
    assert Menu((shown,), time.time()).warning("") == ""
    assert Menu((shown,), None).warning("fx") == ""


def test_the_machines_of_a_list_that_is_remembered_are_as_old_as_it_is(
    start: StartBroker, studio: Studio, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {**LIST, "pools": [{**FX, "renders": 10, "online": 4}]}
    folder = studio.profile(start(lambda talk, request: talk.answer(request, counted)).url).folder
    menu = PoolMenu(folder, folder=cache)
    menu.refresh()
    assert menu.wait(30).label("fx") == "fx, 4 of 10 online"
    # The program starts again.
    menu = PoolMenu(folder, folder=cache)
    assert menu.latest().label("fx") == "fx, 4 of 10 online"
    later = time.time() + 600
    monkeypatch.setattr("afpools.pool_menu.time.time", lambda: later)
    assert menu.latest().label("fx") == "fx, 12 hosts"


def test_a_remembered_list_of_an_older_version_has_no_machines(start: StartBroker, studio: Studio, cache: str) -> None:
    folder = studio.profile(start(answer).url).folder
    menu = PoolMenu(folder, folder=cache)
    menu.refresh()
    menu.wait(30)
    (file,) = Path(cache).iterdir()
    file.write_text(json.dumps({"profile": folder, "fetched": time.time(), "pools": [FX]}))
    assert PoolMenu(folder, folder=cache).latest().label("fx") == "fx, 12 hosts"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "a moment"), (60, "1 minute"), (3599, "59 minutes"), (86400, "1 day"), (1e6, "11 days")],
)
def test_an_age_is_put_into_words(seconds: float, words: str) -> None:
    menu = Menu((), 1000.0, error="No broker answered.")
    assert menu.status(1000.0 + seconds) == f"Pools of {words} ago. No broker answered."


# --- the order of choosers ---


def summary(name: str) -> PoolSummary:
    return PoolSummary(name, 3, "r1", "", "")


def sections(*names: str, chosen: str = "", default: str = "", recent: Sequence[str] = ()) -> list[Any]:
    return Menu(tuple(map(summary, names)), time.time(), holds=Standing(default), recent=recent).sections(chosen)


def test_a_few_pools_are_listed_as_people_count() -> None:
    assert sections("pc-10", "Effects", "pc-2", "effects") == [
        ("", [""]),
        ("", ["Effects", "effects", "pc-2", "pc-10"]),
    ]
    assert sections() == [("", [""])]


def test_the_studios_default_and_pools_used_lately_come_first_and_once() -> None:
    found = sections("a", "b", "c", "d", default="c", recent=["d", "c", "gone", "b"])
    assert found == [("", ["", WITHOUT]), ("Default", ["c"]), ("Recently used", ["d", "b"]), ("Pools", ["a"])]


def test_pools_are_grouped_by_name_up_to_the_first_slash() -> None:
    found = sections("fx/sim/large", "light", "comp/b", "comp/a", "/odd", "fx/fire")
    assert found == [
        ("", [""]),
        ("Pools", ["/odd", "light"]),
        ("comp", ["comp/a", "comp/b"]),
        ("fx", ["fx/fire", "fx/sim/large"]),
    ]


def test_a_chosen_pool_that_the_list_lacks_comes_last() -> None:
    assert sections("a", chosen="gone", default="gone") == [("", ["", WITHOUT]), ("", ["a"]), ("", ["gone"])]
    assert sections("a", chosen="a") == [("", [""]), ("", ["a"])]


@given(
    st.lists(st.text("ab1/ -", min_size=1, max_size=6), unique=True),
    st.lists(st.text("ab1/", max_size=3), max_size=6),
    st.text("ab1/", max_size=3),
    st.text("ab1/", max_size=3),
)
def test_every_pool_is_offered_exactly_once(names: list[str], recent: list[str], default: str, chosen: str) -> None:
    menu = Menu(tuple(map(summary, names)), time.time(), holds=Standing(default), recent=recent)
    offered = [name for name, _ in menu.choices(chosen)]
    assert offered[0] == ""
    without = {WITHOUT} if default not in ("", WITHOUT) or chosen == WITHOUT else set()
    assert sorted(offered) == sorted(({"", chosen, *names} - {WITHOUT}) | without)


def test_a_list_knows_the_default_of_the_profile_and_what_was_used(
    start: StartBroker, studio: Studio, cache: str
) -> None:
    folder = studio.profile(start(answer).url).folder
    file = Path(folder, "profile.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "pool": "gpu"}))
    note_recent_pool("fx", cache)
    pools = PoolMenu(folder, folder=cache)
    assert pools.latest().recent == ["fx"]
    pools.current()
    menu = pools.wait(30)
    assert [name for name, _ in menu.choices()] == ["", WITHOUT, "gpu", "fx"]
    # At the next start, before the broker has answered.
    assert PoolMenu(folder, folder=cache).latest().sections() == menu.sections()


# --- what applies if nothing is chosen ---


def menu_of(pool: str = "", required: bool = False) -> Menu:
    pools = tuple(PoolSummary(name, 30, "r", "", "", 30, 24) for name in ("a, b", "fx"))
    return Menu(pools, time.time(), holds=Standing(pool, required))


@pytest.mark.parametrize(
    ("standing", "first"),
    [
        ((), [("", "No pool")]),
        (("fx",), [("", "Default: fx (24 of 30 online)"), (WITHOUT, "No pool")]),
        (("fx", True), [("", "Default: fx (24 of 30 online)")]),
        (("", True), [("", "Choose a pool")]),
        (("gone",), [("", "Default: gone (missing)"), (WITHOUT, "No pool")]),
        (("a, b",), [("", "Default: a,\u00a0b (24 of 30 online)"), (WITHOUT, "No pool")]),
        ((WITHOUT,), [("", "No pool")]),
    ],
)
def test_the_studios_default_comes_first_and_no_pool_is_offered_where_it_is_allowed(
    standing: tuple[Any, ...], first: list[tuple[str, str]]
) -> None:
    menu = menu_of(*standing)
    choices = menu.choices()
    rest = [("a, b", "a, b, 24 of 30 online"), ("fx", "fx, 24 of 30 online")]
    assert choices[: len(first)] == first
    assert sorted(choices[len(first) :]) == rest
    assert [menu.named(label) for _, label in choices] == [name for name, _ in choices]


def test_a_default_is_warned_of_as_a_chosen_pool_is() -> None:
    assert menu_of("gone").refusal("") == "gone is missing: choose another pool, or No pool."
    assert menu_of("gone", True).refusal("") == "gone is missing: choose another pool."
    assert menu_of("fx").refusal("") == menu_of("fx").refusal(WITHOUT) == menu_of().refusal("") == ""
    for name in ("", WITHOUT):
        assert "requires a pool for every job" in menu_of("", True).warning(name)
        assert menu_of("", True).is_missing(name)


def test_the_default_is_known_before_the_broker_is_asked_and_read_again_with_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AFPOOLS_POOL", raising=False)
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "profile.json").write_text('{"pool": "fx", "required": true}')
    pools = PoolMenu(str(profile), folder=str(tmp_path / "cache"))
    assert pools.latest().holds == Standing("fx", True)
    (profile / "profile.json").write_text('{"pool": "gpu"}')
    pools.refresh()
    assert pools.wait(30).holds == Standing("gpu")
    monkeypatch.setenv("AFPOOLS_POOL", "night")
    assert PoolMenu(str(profile), folder=str(tmp_path / "cache")).latest().label("") == (
        "Default: night (not checked yet)"
    )
