"""`afpools submit`, with CGRU's own afjob.py, a broker and an afserver that works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.command import AFPOOLS, Result, environment, run
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client, Profile
from afpools_broker.protocol import Role

STOCK = os.environ.get("CGRU_LOCATION")

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(not STOCK, reason="CGRU_LOCATION names no CGRU")]


@dataclass
class Machine:
    """Where cron runs."""

    farm: WorkingAfServer
    place: Studio
    env: dict[str, str]
    scene: Path

    def submit(self, *options: object, after: tuple[str, ...] = ()) -> Result:
        return run("submit", *options, self.scene, 1, 2, "-name", "shot", *after, env=self.env)

    @property
    def profile(self) -> Path:
        return Path(self.env["AFPOOLS_PROFILE"])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "home/.cgru").mkdir(parents=True)
    with working_afserver("pc-01", "pc-02", "pc-03") as farm:
        host, port = farm.address
        with studio(tmp_path / "studio", farm={"server": f"{host}:{port}"}) as place:
            profile = place.profile("cron", Role.MANAGER)
            with Client(Profile.load(str(profile)), timeout=30) as client:
                client.create_pool("render/night", ["pc-02"])
            env = environment(
                tmp_path / "home",
                AFPOOLS_PROFILE=str(profile),
                CGRU_LOCATION=str(STOCK),
                CGRU_AF_SERVERNAME=host,
                CGRU_AF_SERVERPORT=str(port),
            )
            yield Machine(farm, place, env, tmp_path / "shot.nk")


def test_a_job_on_a_pool_is_sent_and_waited_for(machine: Machine) -> None:
    done = machine.submit("--pool", "render/night", "--wait", after=("-hostsexcl", "ws"))
    number = done.out.splitlines()[0]
    assert (done.status, done.out.splitlines()) == (0, [number, f"Job {number} is done."]), done.err
    assert machine.farm.hosts_of("shot") == {"pc-02"}


def test_the_number_alone_goes_to_standard_output(machine: Machine) -> None:
    done = machine.submit("--pool", "render/night")
    assert (done.status, int(done.out)) == (0, max(machine.farm.jobs))
    assert done.err == ""


def test_what_programs_get(machine: Machine) -> None:
    done = machine.submit("--pool", "render/night", "--wait", "--json")
    said = json.loads(done.out)
    assert (said["pool"], said["outcome"], done.status) == ("render/night", "done", 0)


def test_the_profiles_default_holds_and_may_be_left_out(machine: Machine) -> None:
    file = machine.profile / "profile.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pool": "render/night"}))
    assert json.loads(machine.submit("--json").out)["pool"] == "render/night"
    assert json.loads(machine.submit("--json", "--no-pool").out)["pool"] is None
    file.write_text(json.dumps({**json.loads(file.read_text()), "required": True}))
    refused = machine.submit("--no-pool")
    assert (refused.status, refused.out, "requires a pool" in refused.err) == (1, "", True)


def test_a_pool_that_is_misspelled_is_named_with_those_that_are_near(machine: Machine) -> None:
    refused = machine.submit("--pool", "Render/nihgt")
    assert (refused.status, refused.out) == (1, "")
    assert "there is no pool 'Render/nihgt'. Did you mean 'render/night'?" in refused.err.replace("\n", " ")
    assert set(machine.farm.jobs) == {1}


def test_without_a_broker_or_an_afserver_nothing_is_sent(machine: Machine) -> None:
    machine.env["CGRU_AF_SERVERPORT"] = "1"
    away = machine.submit("--no-pool")
    assert (away.status, away.out, "Could not open socket" in away.err) == (1, "", True)
    machine.place.broker.__exit__(None, None, None)
    refused = machine.submit("--pool", "render/night")
    assert (refused.status, refused.out, "No broker answered" in refused.err) == (1, "", True)


def test_a_job_that_is_deleted_has_a_status_of_its_own_and_ctrl_c_leaves_a_job_alone(machine: Machine) -> None:
    for end, status in (("delete", 4), ("interrupt", 130)):
        before = set(machine.farm.jobs)
        waiting = subprocess.Popen(
            [AFPOOLS, "submit", "--pool", "render/night", "--wait", machine.scene, "1", "2", "-pause"],
            env=machine.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdout is not None
        number = int(waiting.stdout.readline())
        assert set(machine.farm.jobs) - before == {number}
        if end == "delete":
            machine.farm.act(number, operation={"type": "delete"})
        else:
            waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=60)
        assert waiting.returncode == status, said
        assert (number in machine.farm.jobs) == (end == "interrupt")


def test_options_that_contradict_one_another_are_refused(machine: Machine) -> None:
    assert machine.submit("--pool", "fx", "--no-pool").status == 2
    assert machine.submit("--pool", " ").status == 2
