"""AfStarter with a pool chooser: its window in a separate process, a real broker, a recording afserver."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer, afserver, renders_answer
from tests.clients.large_pools import assert_kept_on_large, grow
from tests.studio import Studio, studio

from afpools import Client, Profile
from afpools_broker.protocol import Role

HERE = Path(__file__).parent
CLIENTS = HERE.parents[2] / "clients"
STOCK = os.environ.get("CGRU_LOCATION")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        importlib.util.find_spec("PySide6") is None and "CI" not in os.environ, reason="PySide6 is not installed"
    ),
]


@dataclass
class Workstation:
    """A CGRU with the plug-in, a broker, an afserver, and an artist's home."""

    cgru: Path
    farm: AfServer
    place: Studio
    home: Path
    profile: Path
    scene: Path

    @property
    def env(self) -> dict[str, str]:
        python = self.cgru / "lib/python", self.cgru / "afanasy/python"
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AFPOOLS_", "XDG_"))},
            "HOME": str(self.home),
            "QT_QPA_PLATFORM": "offscreen",
            "CGRU_LOCATION": str(self.cgru),
            "AF_ROOT": str(self.cgru / "afanasy"),
            "CGRU_PYTHONEXE": sys.executable,
            "CGRU_AF_SERVERNAME": "127.0.0.1",
            "CGRU_AF_SERVERPORT": str(self.farm.address[1]),
            "PYTHONPATH": os.pathsep.join(map(str, python)),
            "AFPOOLS_PROFILE": str(self.profile),
        }

    def run(self, *steps: str) -> list[dict[str, Any]]:
        """What the observing steps have seen."""
        done = self.start(*steps)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SEEN ")]

    def start(self, *steps: str) -> subprocess.CompletedProcess[str]:
        launcher = CLIENTS / "afstarter" / "afstarter_pools.py"
        return subprocess.run(
            [sys.executable, HERE / "at_the_window.py", launcher, *steps],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def broker_away(self) -> None:
        self.place.broker.__exit__(None, None, None)


KINDS = [
    "stand-in",
    pytest.param("stock", marks=pytest.mark.skipif(not STOCK, reason="CGRU_LOCATION names no CGRU")),
]


@pytest.fixture(params=KINDS)
def workstation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workstation]:
    yield from make(HERE / "cgru" if request.param == "stand-in" else Path(STOCK or ""), tmp_path)


@pytest.fixture
def standing_in(tmp_path: Path) -> Iterator[Workstation]:
    """A workstation with a CGRU that may be changed."""
    shutil.copytree(HERE / "cgru", tmp_path / "cgru")
    yield from make(tmp_path / "cgru", tmp_path)


def make(cgru: Path, folder: Path) -> Iterator[Workstation]:
    # AfStarter derives the type of a job from the scene's name.
    scene = folder / "shot.nk"
    scene.touch()
    (folder / "home/.cgru").mkdir(parents=True)
    with afserver(renders_answer([f"pc-0{n}" for n in range(1, 6)])) as farm:
        address = f"127.0.0.1:{farm.address[1]}"
        with studio(folder / "studio", farm={"server": address}) as place:
            profile = place.profile("anna", Role.MANAGER)
            with Client(Profile.load(str(profile)), timeout=30) as client:
                client.create_pool("fx", ["pc-01", "pc-03"])
                client.create_pool('a "b" $c', ["pc-05"])
            yield Workstation(cgru, farm, place, folder / "home", profile, scene)


def test_the_job_that_arrives_is_kept_on_the_chosen_pool(workstation: Workstation) -> None:
    scene = f"scene={workstation.scene}"
    before, chosen, sent = workstation.run(scene, "asked", "see", "choose=fx", "see", "start", "see")
    assert (before["chosen"], before["status"]) == ("No pool", "")
    assert before["pools"] == ["No pool", 'a "b" $c, 1 of 1 online', "fx, 2 of 2 online"]
    assert "afjob.py" in before["command"]
    assert "afjob_pools.py" in chosen["command"]
    assert "pc-0" not in chosen["command"]
    assert "successfully sent" in sent["command"]
    (job,) = workstation.farm.jobs
    assert (job["hosts_mask_exclude"], job["hosts_mask_type"]) == ("(?!pc-0[13]$).*", "regex")
    assert json.loads(job["custom_data"])["afpools"]["pool"] == "fx"


def test_a_mask_that_no_command_line_could_carry_is_sent_with_the_job(workstation: Workstation) -> None:
    with Client(Profile.load(str(workstation.profile)), timeout=30) as client:
        grow(workstation.farm, client)
    scene = f"scene={workstation.scene}"
    sent, refused = workstation.run(scene, "asked", "choose=large", "start", "see", "choose=too large", "start", "see")
    assert "successfully sent" in sent["command"]
    (job,) = workstation.farm.jobs
    assert_kept_on_large(job)
    assert "bytes are more than afserver accepts" in refused["command"]


def test_without_a_pool_it_is_the_stock_program(workstation: Workstation) -> None:
    (sent,) = workstation.run(f"scene={workstation.scene}", "asked", "exclude=pc-02", "start", "see")
    assert "successfully sent" in sent["command"]
    (job,) = workstation.farm.jobs
    assert job["hosts_mask_exclude"] == "pc-02"
    assert not {"hosts_mask_type", "custom_data"} & job.keys()


def test_a_mask_that_the_artist_typed_also_applies(workstation: Workstation) -> None:
    workstation.run(f"scene={workstation.scene}", "exclude=pc-03", "asked", "choose=fx", "start")
    (job,) = workstation.farm.jobs
    assert (job["hosts_mask_exclude"], job["hosts_mask_type"]) == ("(?:pc-03).*|(?:(?!pc-0[13]$).*)", "regex")


def test_a_pool_that_can_run_nothing_needs_confirmation(workstation: Workstation) -> None:
    with Client(Profile.load(str(workstation.profile)), timeout=30) as client:
        client.create_pool("night", ["old-1"], new_hosts=True)
    steps = (f"scene={workstation.scene}", "asked", "choose=night")
    seen, asked = workstation.run(*steps, "see", "answer=No", "start")
    assert seen["chosen"] == "night, no machine on the farm"
    assert seen["status"].startswith("No host of the pool 'night' is a machine of this farm")
    assert asked == f"{seen['status']}\n\nSend it anyway?"
    assert workstation.farm.jobs == []
    _, sent = workstation.run(*steps, "answer=Yes", "start", "see")
    assert "Afanasy Pools: No host of the pool 'night'" in sent["command"]
    assert len(workstation.farm.jobs) == 1


def test_a_pool_may_be_called_anything(workstation: Workstation) -> None:
    workstation.run(f"scene={workstation.scene}", "asked", 'choose=a "b" $c', "start")
    (job,) = workstation.farm.jobs
    assert json.loads(job["custom_data"])["afpools"]["pool"] == 'a "b" $c'


def test_the_chosen_pool_is_remembered_and_a_deleted_one_is_missing(workstation: Workstation) -> None:
    scene = f"scene={workstation.scene}"
    workstation.run(scene, "asked", "choose=fx", "close")
    (again,) = workstation.run(scene, "asked", "see")
    assert again["chosen"] == "fx, 2 of 2 online"
    with Client(Profile.load(str(workstation.profile)), timeout=30) as client:
        client.delete_pool("fx")
    gone, refused = workstation.run(scene, "asked", "refresh", "asked", "see", "start", "see")
    assert gone["chosen"] == "fx, missing"
    assert "The pool 'fx' no longer exists" in refused["command"]
    assert not refused["can_start"]
    assert workstation.farm.jobs == []


def test_without_a_broker_the_last_list_is_shown_and_a_job_with_a_pool_is_not_sent(workstation: Workstation) -> None:
    scene = f"scene={workstation.scene}"
    workstation.run(scene, "asked", "choose=fx", "close")
    workstation.broker_away()
    shown, refused = workstation.run(scene, "refresh", "asked", "see", "start", "see")
    assert shown["pools"] == ["No pool", 'a "b" $c, 1 host', "fx, 2 hosts"]
    assert "No broker answered" in shown["status"]
    assert "The job was not sent" in refused["command"]
    assert "No broker answered" in refused["command"]
    assert workstation.farm.jobs == []
    (sent,) = workstation.run(scene, "choose=", "start", "see")
    assert "successfully sent" in sent["command"]
    assert "hosts_mask_type" not in workstation.farm.jobs[0]


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("class Dialog(", "class Window("),
        ("Dialog()", "Window()"),
        ("def load", "def load_settings"),
        ('"Job"', '"Render"'),
        ('"hostsexclude"', '"exclude"'),
        ("self.fields", "self._fields"),
        ("command = str(self.teCmd.toPlainText())", "command = self.command"),
    ],
)
def test_an_unknown_afstarter_runs_unchanged_and_that_is_reported(standing_in: Workstation, was: str, now: str) -> None:
    script = standing_in.cgru / "utilities/afstarter/afstarter.py"
    changed = script.read_text().replace(was, now)
    if "Window" in now:
        changed = changed.replace("class Dialog(", "class Window(").replace("Dialog()", "Window()")
    changed = changed.replace("self.load(", "self.load_settings(") if "load_settings" in now else changed
    script.write_text(changed)
    done = standing_in.start("see")
    assert done.returncode == 0, done.stderr
    assert "AfStarter runs without pools" in done.stderr
    assert '"pools": null' in done.stdout


def test_an_afstarter_of_several_files_finds_them(standing_in: Workstation) -> None:
    script = standing_in.cgru / "utilities/afstarter/afstarter.py"
    script.with_name("another.py").touch()
    script.write_text("import another\n" + script.read_text())
    (seen,) = standing_in.run("asked", "see")
    assert seen["chosen"] == "No pool"


def test_an_afstarter_that_names_its_own_class_has_a_chooser(standing_in: Workstation) -> None:
    script = standing_in.cgru / "utilities/afstarter/afstarter.py"
    text = script.read_text()
    changed = text.replace(
        "QtWidgets.QWidget.__init__(self)\n        self.set", "super(Dialog, self).__init__()\n        self.set"
    )
    assert changed != text
    script.write_text(changed)
    standing_in.run(f"scene={standing_in.scene}", "asked", "choose=fx", "start")
    assert standing_in.farm.jobs[0]["hosts_mask_type"] == "regex"


def test_a_window_in_which_the_chooser_cannot_be_made_runs_unchanged(standing_in: Workstation) -> None:
    qt = standing_in.cgru / "lib/python/Qt.py"
    qt.write_text(qt.read_text() + "\nQtWidgets.QComboBox.addItem = None\n")
    done = standing_in.start("see")
    assert done.returncode == 0, done.stderr
    assert "AfStarter runs without pools: the chooser cannot be made in it" in done.stderr
    assert '"pools": null' in done.stdout


@pytest.mark.parametrize("mask", ["pc-0[1", "*"])
def test_a_mask_that_cgru_would_leave_out_is_refused(workstation: Workstation, mask: str) -> None:
    (refused,) = workstation.run(f"scene={workstation.scene}", f"exclude={mask}", "asked", "choose=fx", "start", "see")
    assert f"CGRU cannot read the exclude mask '{mask}'" in refused["command"]
    assert workstation.farm.jobs == []


def test_a_newer_list_does_not_move_the_entry_about_to_be_chosen(standing_in: Workstation) -> None:
    (chosen,) = standing_in.run(f"scene={standing_in.scene}", "asked", "choose while a list comes=fx", "see")
    assert chosen["chosen"] == "fx, 2 of 2 online"


def test_an_unknown_command_is_not_sent_with_a_pool(standing_in: Workstation) -> None:
    script = standing_in.cgru / "utilities/afstarter/afstarter.py"
    script.write_text(script.read_text().replace('"afjob.py"', '"afnewjob.py"'))
    scene = f"scene={standing_in.scene}"
    without, refused = standing_in.run(scene, "asked", "see", "choose=fx", "start", "see")
    assert without["can_start"]
    assert "is not in the command" in refused["command"]
    assert standing_in.farm.jobs == []


@pytest.mark.parametrize("unset", ["AF_ROOT", "AFPOOLS_POOL"])
def test_the_sending_program_says_what_it_lacks(standing_in: Workstation, unset: str) -> None:
    env = {**standing_in.env, "AFPOOLS_POOL": "fx"}
    del env[unset]
    command = [sys.executable, CLIENTS / "afstarter" / "afjob_pools.py", standing_in.scene, "1", "3"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, unset in done.stderr) == (1, True)
    assert standing_in.farm.jobs == []


def test_the_reason_for_not_sending_is_written_as_afstarter_reads_it(standing_in: Workstation) -> None:
    env = {**standing_in.env, "AFPOOLS_POOL": "Gödöllő", "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, CLIENTS / "afstarter" / "afjob_pools.py", standing_in.scene, "1", "3"]
    done = subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, "'Gödöllő'" in done.stderr.decode()) == (1, True)


def test_arguments_output_and_exit_status_are_the_stock_programs_own(standing_in: Workstation) -> None:
    command = [sys.executable, CLIENTS / "afstarter" / "afjob_pools.py"]
    env = {**standing_in.env, "AFPOOLS_POOL": "fx"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "usage: afjob SCENE FIRST LAST\n")
    standing_in.farm.stop()
    done = subprocess.run(
        [*command, standing_in.scene, "1", "3"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "refused" in done.stdout) == (1, True)


def test_the_studios_default_is_chosen_and_may_be_left_out_unless_a_pool_is_required(standing_in: Workstation) -> None:
    file = standing_in.profile / "profile.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "pool": "fx"}))
    scene = f"scene={standing_in.scene}"
    before, _sent, left_out = standing_in.run(scene, "asked", "see", "start", "see", "choose=-", "start", "see")
    assert before["chosen"] == "Default: fx (2 of 2 online)"
    assert "afjob_pools.py" not in left_out["command"]
    fenced, free = standing_in.farm.jobs
    assert json.loads(fenced["custom_data"])["afpools"]["pool"] == "fx"
    assert "custom_data" not in free
    file.write_text(json.dumps({**said, "required": True}))
    (refused,) = standing_in.run(scene, "asked", "choose=", "see")
    assert "requires a pool" in refused["command"]
    assert not refused["can_start"]
