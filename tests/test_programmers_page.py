"""The code in docs/programmers.md does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.afserver import AfServer, afserver, renders_answer
from tests.studio import Studio, studio

from afpools import Client, Profile
from afpools_broker.protocol import Role

ROOT = Path(__file__).parents[1]
JOB, EVERY_JOB, MENU, MASK, EDIT, AGAIN = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "programmers.md").read_text(), re.DOTALL
)

pytestmark = pytest.mark.heavy


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[tuple[AfServer, Studio]]:
    names = [f"pc-0{n}" for n in range(1, 8)] + [f"gpu-{n:02}" for n in range(1, 41)]
    with afserver(renders_answer(names)) as server:
        address = f"127.0.0.1:{server.address[1]}"
        with studio(tmp_path, farm={"server": address}) as place:
            with Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=30) as client:
                client.create_pool("fx", ["pc-01", "pc-03"])
            yield server, place


def run(farm: tuple[AfServer, Studio], program: str) -> subprocess.CompletedProcess[str]:
    server, place = farm
    # The real module if there is one.
    cgru = Path(os.environ.get("CGRU_LOCATION") or ROOT / "tests/clients/afstarter/cgru")
    path = ROOT / "clients", cgru / "lib/python", cgru / "afanasy/python"
    env = {
        **os.environ,
        "HOME": str(place.folder),
        "AFPOOLS_PROFILE": str(place.profile("anna", Role.MANAGER)),
        "CGRU_LOCATION": str(cgru),
        "AF_ROOT": str(cgru / "afanasy"),
        "CGRU_AF_SERVERNAME": "127.0.0.1",
        "CGRU_AF_SERVERPORT": str(server.address[1]),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
    }
    return subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_job_on_a_pool(farm: tuple[AfServer, Studio]) -> None:
    done = run(farm, JOB)
    assert done.returncode == 0, done.stderr
    assert farm[0].jobs[0]["hosts_mask_exclude"] == "(?!pc-0[13]$).*"
    refused = run(farm, JOB.replace('"fx"', '"none"'))
    assert (refused.returncode, "The job was not sent" in refused.stderr) == (1, True)
    assert len(farm[0].jobs) == 1


def test_every_job_that_this_python_sends(farm: tuple[AfServer, Studio]) -> None:
    done = run(farm, EVERY_JOB + re.sub(r"try:.*SystemExit.*?\n", "", JOB, flags=re.DOTALL))
    assert done.returncode == 0, done.stderr
    assert farm[0].jobs[0]["hosts_mask_type"] == "regex"


def test_pools_in_an_interface(farm: tuple[AfServer, Studio]) -> None:
    drawn = """
class Panel:
    def add(self, label, name):
        print(label)
    def note(self, text):
        print(text)
draw(Panel())
pools.wait(60)
draw(Panel())
"""
    done = run(farm, MENU + drawn)
    first = ["No pool", "fx, not checked yet", "", "Asking the broker for pools…"]
    then = ["No pool", "fx, 2 of 2 online", "", ""]
    assert (done.returncode, done.stdout.splitlines()) == (0, first + then), done.stderr


def test_only_the_mask(farm: tuple[AfServer, Studio]) -> None:
    done = run(farm, MASK)
    assert (done.returncode, done.stdout) == (0, "fx 2\n(?!pc-0[13]$).* regex\n"), done.stderr


def test_existing_hosts_and_hosts_not_set_up_yet_are_added(farm: tuple[AfServer, Studio]) -> None:
    with Client(Profile.load(str(farm[1].profile("anna", Role.MANAGER))), timeout=30) as client:
        until = time.monotonic() + 60
        while client.list_hosts().farm_unseen:
            assert time.monotonic() < until
        done = run(farm, EDIT)
        assert (done.returncode, done.stdout.strip()) == (0, EDIT.partition("print(error)  # ")[2].partition("\n")[0])
        assert client.get_pool("fx").hosts == ("pc-01", "pc-03", "gpu-41")


def test_a_change_that_is_repeated_under_its_id(farm: tuple[AfServer, Studio]) -> None:
    lost = "import sys, afpools\nadd = afpools.Client.add_hosts\n"
    lost += "def lose(client, *args, **named):\n    add(client, *args, request_id=named.get('request_id', 'once'))\n"
    lost += "    if not named:\n        raise afpools.OutcomeUnknown([], 'once')\nafpools.Client.add_hosts = lose\n"
    done = run(farm, lost + AGAIN)
    assert done.returncode == 0, done.stderr
    with Client(Profile.load(str(farm[1].profile("anna", Role.MANAGER))), timeout=30) as client:
        assert [entry.op for entry in client.history()] == ["pools.add_hosts", "pools.create"]
