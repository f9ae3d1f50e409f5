"""What a broker reports about itself: above all, it is not healthy while no change can be made."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.broker.store.places import PATIENT, add, create
from tests.mongod import ReplicaSet, with_database
from tests.studio import Studio, studio

from afpools import Client
from afpools.profile import Profile
from afpools_broker import protocol
from afpools_broker.monitoring import health
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.sqlite import SqliteStore
from afpools_tools.credentials import succession


@contextmanager
def broker(folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str = "sqlite:///pools.sqlite") -> Iterator[Studio]:
    """A broker that asks its store each time, and gives it long enough on a busy machine."""
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.0)
    with studio(folder, store={"uri": uri, "timeout": 1.5}) as place:
        wait_for(place, lambda report: report.store.writable)
        yield place


def wait_for(
    place: Studio, reached: Callable[[protocol.HealthResult], bool], seconds: float = 60.0
) -> protocol.HealthResult:
    """Asks for health until it is as expected; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not reached(report := place.broker._health.report()):
        assert time.monotonic() < deadline, report
        time.sleep(0.02)
    return report


def test_a_broker_whose_changes_are_written_is_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with broker(tmp_path, monkeypatch) as place:
        report = wait_for(place, lambda report: report.status == "healthy")
        assert (report.store.reachable, report.store.writable, report.problems) == (True, True, [])


def test_pools_that_look_alike_are_reported_as_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with broker(tmp_path, monkeypatch) as place:
        with closing(sqlite3.connect(tmp_path / "pools.sqlite", isolation_level=None)) as other:
            other.executemany(
                "INSERT INTO pools (name, hosts, description, colour) VALUES (?, '[]', '', '')",
                [("fx",), ("FX",), ("fx\u3164",), ("night",)],
            )
        report = wait_for(place, lambda report: "look alike" in " ".join(report.problems))
        assert report.problems == [
            "The pools 'FX' and 'fx' and 'fx\\u3164' look alike, so a job may be sent to the wrong one. "
            "Rename all but one of them."
        ]


@pytest.mark.parametrize(("flag_after", "problems"), [(60.0, ["The list of renders is 90 seconds old."]), (600.0, [])])
def test_the_list_of_renders_is_old_from_the_configured_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag_after: float, problems: list[str]
) -> None:
    monkeypatch.setattr(health.Health, "farm_age", lambda self: 90.0)
    with studio(tmp_path, farm={"flag_after": flag_after}) as place:
        assert [each for each in place.broker._health.report().problems if "renders" in each] == problems


def test_a_locked_file_is_a_problem_while_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with broker(tmp_path, monkeypatch) as place:
        with closing(sqlite3.connect(tmp_path / "pools.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            report = wait_for(place, lambda report: "another process holds its lock" in " ".join(report.problems))
            assert (report.status, report.store.reachable, report.store.writable) == ("degraded", True, False)
            # A request for health meanwhile takes nobody's turn.
            assert place.broker.store.load().pools == {}
        wait_for(place, lambda report: report.status == "healthy")


def test_a_replica_set_without_a_majority_and_a_hung_primary_are_problems(
    replica_set: ReplicaSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = with_database(replica_set.uri, f"test_{secrets.token_hex(6)}")
    with broker(tmp_path, monkeypatch, uri) as place:
        primary = replica_set.primary
        for stopped in ([primary], [member for member in replica_set.members if member is not primary]):
            for member in stopped:
                member.pause()
            try:
                start = time.monotonic()
                report = wait_for(place, lambda report: not report.store.writable)
                assert time.monotonic() - start < 30
                assert report.status == "degraded"
                assert report.problems
            finally:
                for member in stopped:
                    member.resume()
            replica_set.wait()
            wait_for(place, lambda report: report.status == "healthy")


def test_asking_in_a_loop_does_not_cause_a_write_each_time(tmp_path: Path) -> None:
    with studio(tmp_path) as place:
        wait_for(place, lambda report: report.store.writable)
        assert probes(tmp_path) == 1
        for _ in range(20):
            assert place.broker._health.report().store.writable
        assert probes(tmp_path) == 1


def probes(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "pools.sqlite")) as db:
        return int(db.execute("SELECT count FROM counts WHERE name = 'probes'").fetchone()[0])


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from tests.broker.store.places import add, create
from afpools_broker.store import StoreUnavailable
from afpools_broker.store.sqlite import SqliteStore
folder = Path(sys.argv[1])
store = SqliteStore(folder / "pools.sqlite", timeout=20)
store.apply(create("fx", "a"))
store.probe()
with (folder / "filler").open("wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(512))
    except OSError:
        pass
for call in (store.probe, lambda: store.apply(add("fx", "b"))):
    try:
        call()
    except StoreUnavailable as error:
        print(error)
store.ping()
(folder / "filler").unlink()
store.probe()
store.apply(add("fx", "b"))
print(store.load().pools["fx"].hosts)
"""


def test_a_disk_that_is_really_full_is_noticed_without_a_change(tmp_path: Path) -> None:
    # A separate disk needs a separate namespace, which not every machine allows a test.
    alone = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*alone, "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Mounting is not possible here: {error}.")
    script = f'mount -t tmpfs -o size=400k tmpfs "$1" && exec "{sys.executable}" -c "$2" "$1"'
    done = subprocess.run(
        [*alone, "sh", "-ec", script, "sh", tmp_path, ON_A_SMALL_DISK], check=True, capture_output=True, text=True
    )
    said = done.stdout.splitlines()
    assert len(said) == 3, done
    assert "the disk is full" in said[0]
    assert said[2] == "('a', 'b')"


def test_a_probe_does_not_count_as_a_change(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "pools.sqlite", timeout=PATIENT)) as store:
        entry = store.apply(create("fx", "a"))
        contents = store.load()
        store.probe()
        assert store.history() == [entry]
        assert store.load() == contents
        (tmp_path / "pools.sqlite").rename(tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            store.probe()
        assert not (tmp_path / "pools.sqlite").exists()
        (tmp_path / "elsewhere").rename(tmp_path / "pools.sqlite")
        store.apply(add("fx", "b"))


def test_the_report_says_which_authorities_are_trusted_and_who_uses_them(tmp_path: Path) -> None:
    with studio(tmp_path) as place:
        old = place.authority.signer
        with Client(Profile.load(str(place.profile("anna")))) as client:
            (only,) = client.health()["authorities"]
        assert (only["id"], only["shown"], only["clients"]) == (old.id.hex(), True, [])

        place.authority = succession.switch(succession.begin(place.authority))
        place.broker.credentials.refresh()
        with Client(Profile.load(str(place.profile("nina")))) as client:
            said = {each["id"]: each for each in client.health()["authorities"]}
        new = said[place.authority.signer.id.hex()]
        assert said.keys() == {old.id.hex(), new["id"]}
        assert (said[old.id.hex()]["shown"], new["shown"]) == (True, False)
        assert [each["name"] for each in said[old.id.hex()]["clients"]] == ["anna"]
        (nina,) = new["clients"]
        assert nina["name"] == "nina"
        assert nina["first"] <= nina["last"]
