"""The farm client trusts only complete answers, and keeps the last good list whatever happens."""

import datetime as dt
import json
import time
import zlib
from collections.abc import Callable

import msgspec
import pytest
from tests.afserver import AfServer, afserver, recording, renders_answer

from afpools_broker.farm.afserver import FarmError, ask
from afpools_broker.farm.farm import Farm, FarmWatch, Render, pack, parse_regex_users, parse_renders, unpack
from afpools_broker.store import PoolStore, StoreUnavailable

GET = {"get": {"type": "renders"}}


@pytest.fixture
def server():
    with afserver() as running:
        yield running


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def watch(server: AfServer, store: PoolStore, seen: list[Farm]) -> FarmWatch:
    return FarmWatch(server.address, interval=60, timeout=2, store=store, changed=seen.append)


def test_the_recorded_renders_are_read(server: AfServer) -> None:
    renders = {render.name: render for render in parse_renders(ask(server.address, GET, timeout=2))}
    assert set(renders) == {"pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-1", "pc-10"}
    assert renders["pc-05"].states == ("offline",)
    assert renders["pc-10"] == Render("pc-10", ("online", "busy"), "127.0.0.1", "3.4.1", "/")
    assert server.requests == [recording("renders_get")["request"]]


@pytest.mark.parametrize(
    ("state", "states"),
    [
        (" ONL NBY", ("online", "nimby")),
        (" ONL NbY RUN", ("online", "busy", "nimby")),
        (" OFF PAU SIC DRT WLS", ("offline", "paused", "sick")),
        ("", ()),
    ],
)
def test_states_are_translated_into_words(state: str, states: tuple[str, ...]) -> None:
    answer = renders_answer(["a"])
    answer["renders"][0]["state"] = state
    assert parse_renders(json.dumps(answer).encode())[0].states == states


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        pytest.param("silent", "did not answer within", marks=pytest.mark.heavy),
        pytest.param("dribble", "did not answer within", marks=pytest.mark.heavy),
        ("cut", "in the middle of its answer"),
        ("rubbish", "does not speak Afanasy's protocol"),
        ("endless", "is the limit"),
        ("wrong", "makes no sense"),
    ],
)
def test_an_invalid_answer_is_an_error_and_the_last_good_list_stays(
    server: AfServer, store: PoolStore, mood: str, words: str
) -> None:
    seen: list[Farm] = []
    farm = watch(server, store, seen)
    farm.poll()
    assert farm.error == ""
    server.mood = mood
    farm.poll()
    assert words in farm.error
    assert len(seen) == 1
    assert farm.farm is seen[0]
    server.mood = "well"
    farm.poll()
    assert farm.error == ""


def test_an_answer_to_something_else_is_refused(server: AfServer) -> None:
    with pytest.raises(FarmError, match="makes no sense"):
        parse_renders(ask(server.address, {"nonsense": 1}, timeout=2))


def test_a_broker_restarted_without_afserver_knows_the_farm(server: AfServer, store: PoolStore) -> None:
    first = watch(server, store, [])
    first.poll()
    server.mood = "cut"
    seen: list[Farm] = []
    second = watch(server, store, seen)
    second.start()
    wait_for(lambda: seen)
    second.stop(wait=2)
    assert [farm.renders for farm in seen] == [first.farm.renders]
    assert abs(seen[0].seen - first.farm.seen) < dt.timedelta(seconds=1)


def test_a_wrong_clock_does_not_make_a_list_younger(server: AfServer, store: PoolStore) -> None:
    now = dt.datetime.now(dt.UTC)
    assert Farm((), now, known_since=time.monotonic() - 500).age(now - dt.timedelta(hours=1)) >= 500
    first = watch(server, store, [])
    first.poll()
    store.save_farm(pack(first.farm.renders), now + dt.timedelta(hours=2))
    server.mood = "cut"
    seen: list[Farm] = []
    second = watch(server, store, seen)
    second.start()
    wait_for(lambda: seen)
    second.stop(wait=2)
    assert seen[0].age(dt.datetime.now(dt.UTC)) > 7000


def test_an_unreachable_store_does_not_stop_the_watch(server: AfServer, store: PoolStore, monkeypatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "save_farm", away)
    monkeypatch.setattr(store, "load_farm", away)
    seen: list[Farm] = []
    farm = watch(server, store, seen)
    farm.start()
    wait_for(lambda: seen)
    farm.stop(wait=2)
    assert farm.error == ""


def as_afserver_writes(names: list[str]) -> bytes:
    """The renders as afserver sends them: control characters are unescaped, except line ends and tabs."""
    body = json.dumps(renders_answer(names)).encode()
    for number in set(range(0x20)) - set(b"\n\r\t\b\f"):
        body = body.replace(b"\\u%04x" % number, bytes([number]))
    return body.replace(b"\\b", b"\b").replace(b"\\f", b"\f")


def test_names_with_control_characters_are_read_unchanged(server: AfServer, store: PoolStore) -> None:
    names = ["pc-01", "".join(map(chr, range(0x20))) + "\x7f", 'a"\\c', "tab\there"]
    server.body = as_afserver_writes(names)
    with pytest.raises(json.JSONDecodeError):
        json.loads(server.body)
    seen: list[Farm] = []
    farm = watch(server, store, seen)
    farm.poll()
    assert farm.error == ""
    assert [render.name for render in seen[0].renders] == names


def test_a_control_character_after_a_lone_backslash_is_not_misread() -> None:
    with pytest.raises(FarmError, match="makes no sense"):
        parse_renders(b'{"renders": [{"name": "pc\\\x01"}]}')


def test_a_control_character_outside_names_is_an_error() -> None:
    with pytest.raises(FarmError, match="makes no sense"):
        parse_renders(b'{"renders": \x01[{"name": "pc-01"}]}')


def test_bytes_that_are_not_utf8_are_shown(server: AfServer, store: PoolStore) -> None:
    farm = watch(server, store, [])
    farm.poll()
    server.body = b'{"renders": [{"name": "pc-01"}, {"name": "%s b\xfcro-01"}]}' % (b"a" * 1000)
    farm.poll()
    assert "not UTF-8 (invalid start byte), near b'aaa" in farm.error
    assert "a b\\xfcro-01" in farm.error
    assert len(farm.error) < 200
    assert "pc-01" in {render.name for render in farm.farm.renders}


def test_unchanged_renders_are_kept_once() -> None:
    first = parse_renders(json.dumps(renders_answer(["pc-01", "pc-02", "pc-03"])).encode())
    changed = renders_answer(["pc-04", "pc-03", "pc-02"])
    changed["renders"][2]["state"] = " OFF"
    second = parse_renders(json.dumps(changed).encode(), first)
    assert [render.name for render in second] == ["pc-04", "pc-03", "pc-02"]
    assert second[1] is first[2]
    assert second[2].states == ("offline",)
    assert second[2].name is first[1].name


def test_a_list_without_renders_is_refused(server: AfServer, store: PoolStore) -> None:
    seen: list[Farm] = []
    farm = watch(server, store, seen)
    farm.poll()
    server.renders = {"renders": []}
    farm.poll()
    assert "lists no renders at all" in farm.error
    assert len(seen) == 1


def lists_asked_for(server: AfServer) -> list[dict[str, object]]:
    """The requests for renders so far; clears the record."""
    asked = [request["get"] for request in server.requests if request.get("get", {}).get("type") == "renders"]
    server.requests.clear()
    return asked


def polled(server: AfServer, store: PoolStore) -> FarmWatch:
    """A watch that has the list of renders, and would notice a change through an event."""
    farm = FarmWatch(server.address, interval=5, timeout=2, store=store, changed=lambda _: None)
    farm.poll()
    assert lists_asked_for(server) == [{"type": "renders"}]
    return farm


def test_renders_are_as_old_as_their_last_confirmation(
    many: AfServer, store: PoolStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = polled(many, store)
    listed = farm.farm.seen
    # afserver sends events once a second, so those of the last second may be missing.
    monkeypatch.setattr("afpools_broker.farm.farm.DELAY", 3600)
    farm.poll()
    assert farm.farm.seen == listed
    monkeypatch.setattr("afpools_broker.farm.farm.DELAY", 0)
    began = dt.datetime.now(dt.UTC)
    farm.poll()
    assert farm.farm.seen >= began


def test_a_changed_version_is_saved_at_once_but_changed_states_are_not(many: AfServer, store: PoolStore) -> None:
    farm = polled(many, store)
    kept = store.load_farm()
    many.renders["renders"][0]["state"] = " OFF"
    farm.poll()
    assert store.load_farm() == kept
    many.renders["renders"][0]["engine"] = "3.3.1"
    farm.poll()
    assert unpack(store.load_farm()[0])[0] == farm.farm.renders


def test_the_watch_continues_whatever_happens(store: PoolStore, caplog: pytest.LogCaptureFixture) -> None:
    with afserver() as server:
        server.body = b'{"renders":' + b"[" * 100_000
        farm = FarmWatch(server.address, interval=0.02, timeout=2, store=store, changed=lambda _: None)
        farm.start()
        wait_for(lambda: "makes no sense" in farm.error)
        server.body = None
        wait_for(lambda: not farm.error)
        farm.stop(wait=2)
    nowhere = FarmWatch(("af..lan", 1), interval=0.02, timeout=2, store=store, changed=lambda _: None)
    nowhere.poll()
    assert "'af..lan' is not a host name" in nowhere.error


def test_a_new_interval_takes_effect_at_once(server: AfServer, store: PoolStore) -> None:
    farm = FarmWatch(server.address, interval=3600, timeout=2, store=store, changed=lambda _: None)
    farm.start()
    wait_for(lambda: farm.farm)
    farm.set_pace(interval=0.02, timeout=2)
    wait_for(lambda: len(server.requests) > 10)
    farm.set_pace(interval=3600, timeout=2)
    farm.stop(wait=2)


def test_the_users_whose_masks_are_read_as_regex_come_from_afserver(server: AfServer) -> None:
    server.users = recording("users_get_with_types")["answer"]
    request = recording("users_get_with_types")["request"]
    assert parse_regex_users(ask(server.address, request, timeout=2)) == {"rexuser"}
    assert parse_regex_users(json.dumps(recording("users_get")["answer"]).encode()) == frozenset()


@pytest.mark.parametrize(
    "body",
    [b'{"error": "x"}', b'{"users": [{}]}', b'{"users": [{"name": "a", "hosts_mask_type": "glob"}]}', b"[", b"\xfc"],
)
def test_an_invalid_list_of_users_is_refused(body: bytes) -> None:
    with pytest.raises(FarmError, match="list of users makes no sense"):
        parse_regex_users(body)


def test_users_are_read_with_the_renders_and_kept_for_a_restarted_broker(server: AfServer, store: PoolStore) -> None:
    server.users = recording("users_get_with_types")["answer"]
    farm = watch(server, store, [])
    farm.poll()
    assert farm.farm.regex_users == {"rexuser"}
    server.mood = "cut"
    seen: list[Farm] = []
    second = watch(server, store, seen)
    second.start()
    wait_for(lambda: seen)
    second.stop(wait=2)
    assert seen[0].regex_users == {"rexuser"}


def test_the_farm_is_known_even_without_its_users(
    server: AfServer, store: PoolStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Farm] = []
    farm = watch(server, store, seen)
    server.users = {"error": "unknown"}
    farm.poll()
    assert (seen[-1].regex_users, farm.error) == (None, "")
    server.users = recording("users_get_with_types")["answer"]
    farm.poll()
    server.users = {"error": "unknown"}
    farm.poll()
    farm.poll()
    assert (seen[-1].regex_users, farm.error) == ({"rexuser"}, "")
    assert caplog.text.count("list of users makes no sense") == 2


def test_a_list_kept_by_an_older_version_has_no_users() -> None:
    renders = (Render("pc-01", ("online",)),)
    kept = zlib.compress(msgspec.msgpack.encode(renders))
    assert unpack(kept) == (renders, None)
    # The other way round, an older version reads only the first part.
    assert zlib.decompressobj().decompress(pack(renders, frozenset({"anna"}))) == zlib.decompress(kept)


def test_packing_keeps_everything() -> None:
    renders = tuple(Render(f"pc-{n}", ("online",), "10.0.0.1", "3.4.1", "/fx") for n in range(1000))
    for users in (None, frozenset[str](), frozenset({"anna", "é"})):
        assert unpack(pack(renders, users)) == (renders, users)
    with pytest.raises(FarmError):
        unpack(b"rubbish")
