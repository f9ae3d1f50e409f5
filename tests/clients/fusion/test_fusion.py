"""Fusion's script with the pool among its questions, in a separate process, with a real broker."""

from __future__ import annotations

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
STAND_IN = HERE.parent / "afstarter" / "cgru"
STOCK = os.environ.get("CGRU_LOCATION")

pytestmark = pytest.mark.heavy

OK = {"hosts_mask": ""}


@dataclass
class Workstation:
    """Fusion's scripts as they are installed, a broker, an afserver."""

    plugin: Path
    cgru: Path
    farm: AfServer
    place: Studio
    home: Path
    profile: Path

    def submit(self, *answers: dict[str, Any] | None) -> str:
        """Runs the script, gives these answers to its dialogs, and returns what could be seen."""
        python = HERE, self.cgru / "lib/python", self.cgru / "afanasy/python"
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AFPOOLS_", "XDG_"))},
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "CGRU_LOCATION": str(self.cgru),
            "AF_ROOT": str(self.cgru / "afanasy"),
            "CGRU_AF_SERVERNAME": "127.0.0.1",
            "CGRU_AF_SERVERPORT": str(self.farm.address[1]),
            "PYTHONPATH": os.pathsep.join(map(str, python)),
            "AFPOOLS_PROFILE": str(self.profile),
            "COMP": str(self.home / "shot.comp"),
            "ANSWERS": json.dumps(answers),
        }
        script = self.plugin / "Comp" / "Afanasy (pools).py"
        done = subprocess.run(
            [sys.executable, script], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(
    params=["stand-in", pytest.param("stock", marks=pytest.mark.skipif(not STOCK, reason="CGRU_LOCATION: no CGRU"))]
)
def fusion(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workstation]:
    stock = request.param == "stock"
    plugin = tmp_path / "plugins" / "fusion"
    shutil.copytree(CLIENTS / "fusion", plugin)
    shutil.copytree(CLIENTS / "afpools", plugin / "afpools")
    ours = HERE / "Comp" / "Afanasy.py"
    shutil.copy(Path(STOCK or "") / "plugins/fusion/Comp/Afanasy.py" if stock else ours, plugin / "Comp")
    (tmp_path / "home").mkdir()
    with afserver(renders_answer([f"pc-0{n}" for n in range(1, 6)])) as farm:
        address = f"127.0.0.1:{farm.address[1]}"
        with studio(tmp_path / "studio", farm={"server": address}) as place:
            profile = place.profile("anna", Role.MANAGER)
            with Client(Profile.load(str(profile)), timeout=30) as client:
                client.create_pool("fx", ["pc-01", "pc-03"])
            cgru = Path(STOCK or "") if stock else STAND_IN
            yield Workstation(plugin, cgru, farm, place, tmp_path / "home", profile)


def forget_pool(fusion: Workstation) -> None:
    with Client(Profile.load(str(fusion.profile)), timeout=30) as client:
        client.delete_pool("fx")


def warm(fusion: Workstation) -> None:
    """Waits until the list is on disk: on a slow machine the first dialog may open before it arrives."""
    cache = fusion.home / ".cache" / "afpools"
    for _ in range(50):
        fusion.submit(None)
        if cache.is_dir() and list(cache.glob("pools-*.json")):
            return
    raise AssertionError("the list of pools never came")


def test_the_job_that_arrives_is_kept_on_the_pool_and_on_the_hosts_mask(fusion: Workstation) -> None:
    warm(fusion)
    shown = fusion.submit({"render_pool": {"pick": "fx"}, "hosts_mask": "pc-01"}, {})
    assert 'OPTIONS [["No pool", "fx, 2 of 2 online"]]' in shown
    assert "Successfully Submitted." in shown
    (job,) = fusion.farm.jobs
    assert (job["hosts_mask_exclude"], job["hosts_mask_type"]) == ("(?!pc-0[13]$).*", "regex")
    assert job["hosts_mask"] == "(?:pc-01).*"
    assert json.loads(job["custom_data"])["afpools"]["pool"] == "fx"


def test_a_pool_that_can_run_nothing_is_asked_about_before_anything_is_saved(fusion: Workstation) -> None:
    with Client(Profile.load(str(fusion.profile)), timeout=30) as client:
        client.create_pool("night", ["old-1"], new_hosts=True)
    warm(fusion)
    shown = fusion.submit({"render_pool": {"pick": "night"}, **OK}, None, {})
    assert '"night, no machine on the farm"' in shown
    assert "No host of the pool 'night' is a machine of this farm" in shown
    assert "Nothing was sent." in shown
    assert ("SAVED" in shown, fusion.farm.jobs) == (False, [])
    assert "Successfully Submitted." in fusion.submit({"render_pool": {"pick": "night"}, **OK}, {}, {})
    assert len(fusion.farm.jobs) == 1


def test_a_mask_that_no_command_line_could_carry_is_sent_with_the_job(fusion: Workstation) -> None:
    with Client(Profile.load(str(fusion.profile)), timeout=30) as client:
        grow(fusion.farm, client)
    warm(fusion)
    assert "Successfully Submitted." in fusion.submit({"render_pool": {"pick": "large"}, **OK}, {})
    (job,) = fusion.farm.jobs
    assert_kept_on_large(job)
    refused = fusion.submit({"render_pool": {"pick": "too large"}, **OK}, {})
    assert "bytes are more than afserver accepts" in refused
    assert ("SAVED" in refused, len(fusion.farm.jobs)) == (False, 1)


def test_without_a_pool_it_is_the_stock_script(fusion: Workstation) -> None:
    assert "Successfully Submitted." in fusion.submit({"render_pool": 0, **OK}, {})
    (job,) = fusion.farm.jobs
    assert not {"hosts_mask", "hosts_mask_exclude", "hosts_mask_type", "custom_data"} & job.keys()


def test_a_cancelled_dialog_does_nothing(fusion: Workstation) -> None:
    assert "SAVED" not in fusion.submit(None)
    assert fusion.farm.jobs == []


def test_the_last_pool_is_chosen_and_a_deleted_one_is_missing_and_refused(fusion: Workstation) -> None:
    warm(fusion)
    fusion.submit({"render_pool": {"pick": "fx"}, **OK}, {})
    assert '"render_pool": 1' in fusion.submit(None)
    forget_pool(fusion)
    shown = fusion.submit({**OK}, {})
    assert "The job was not sent" in shown
    assert "SAVED" not in shown
    assert len(fusion.farm.jobs) == 1


def test_without_a_broker_the_last_list_is_shown_and_a_job_with_a_pool_is_not_sent(fusion: Workstation) -> None:
    warm(fusion)
    fusion.place.broker.__exit__(None, None, None)
    shown = fusion.submit({"render_pool": {"pick": "fx"}, **OK}, {})
    assert "The job was not sent" in shown
    assert "No broker answered" in shown
    assert ("SAVED" in shown, fusion.farm.jobs) == (False, [])
    assert "Successfully Submitted." in fusion.submit({"render_pool": 0, **OK}, {})


@pytest.mark.parametrize("answer", [7, -1, "fx"])
def test_an_answer_that_is_not_a_pool_sends_nothing(fusion: Workstation, answer: Any) -> None:
    shown = fusion.submit({"render_pool": answer, **OK}, {})
    assert "nothing was sent" in shown
    assert fusion.farm.jobs == []


@pytest.mark.parametrize(
    ("was", "now"),
    [("\nUI()\n", "\nui = UI()\n"), ("def dispatch", "def submit"), ("class UI(", "class Window("), ("UI()", "UI((")],
)
def test_an_unknown_stock_script_is_named_and_nothing_is_sent(fusion: Workstation, was: str, now: str) -> None:
    script = fusion.plugin / "Comp" / "Afanasy.py"
    script.write_text(script.read_text().replace(was, now))
    shown = fusion.submit({})
    assert "nothing was sent" in shown
    assert str(script) in shown
    assert fusion.farm.jobs == []


def test_an_invalid_hosts_mask_sends_nothing_and_is_named(fusion: Workstation) -> None:
    shown = fusion.submit({"render_pool": 0, "hosts_mask": "pc-0["}, {})
    assert "CGRU cannot read the hosts mask 'pc-0['" in shown
    assert fusion.farm.jobs == []


def test_a_stock_dialog_without_a_hosts_mask_is_reported_as_unknown(fusion: Workstation) -> None:
    script = fusion.plugin / "Comp" / "Afanasy.py"
    script.write_text(script.read_text().replace('1: "hosts_mask"', '1: "hosts"'))
    shown = fusion.submit({}, {})
    assert "does not ask for a hosts mask" in shown
    assert fusion.farm.jobs == []


def test_the_studios_default_is_preselected_and_obeyed(fusion: Workstation) -> None:
    file = fusion.profile / "profile.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pool": "fx"}))
    warm(fusion)
    shown = fusion.submit({"render_pool": 0, **OK}, {})
    assert 'OPTIONS [["Default: fx (2 of 2 online)", "No pool", "fx, 2 of 2 online"]]' in shown
    fusion.submit({"render_pool": 1, **OK}, {})
    fenced, free = fusion.farm.jobs
    assert json.loads(fenced["custom_data"])["afpools"]["pool"] == "fx"
    assert "custom_data" not in free
    file.write_text(json.dumps({**json.loads(file.read_text()), "pool": "", "required": True}))
    refused = fusion.submit({"render_pool": 0, **OK}, {})
    assert "The job was not sent. This studio requires a pool" in refused
    assert ("SAVED" in refused, len(fusion.farm.jobs)) == (False, 2)
