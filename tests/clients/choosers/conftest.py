"""A CGRU of its own files with our choosers in it, a broker, an afserver, and artists who do what a test says."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.clients.hook.conftest import STOCK, Office, link_to, open_office

from afpools import Client, Profile
from afpools_broker.protocol import Role
from afpools_tools.plugins.catalogue import PLUGINS
from afpools_tools.plugins.install import install, plan

PROGRAMS = Path(__file__).parent / "programs"

FX = {"mask": "(?!pc-0[13]$).*", "type": "regex", "pool": "fx"}
WILL_WAIT = "No host of the pool 'night' is a machine of this farm: the job will wait until one joins it."

NOTHING = {"mask": None, "type": None, "pool": None}


@dataclass
class Desk:
    """An artist's program, with its chooser."""

    office: Office
    program: str
    path: list[Path]
    variables: dict[str, str]

    def run(self, *steps: str, hook: bool = False, **variables: str) -> list[Any]:
        """What the observing steps have seen."""
        env = {**self.office.env, **self.variables, **variables}
        inherited = [each for each in env["PYTHONPATH"].split(os.pathsep) if hook or each != str(self.office.hook)]
        env["PYTHONPATH"] = os.pathsep.join([str(PROGRAMS), *map(str, self.path), *inherited])
        done = self.office.run(sys.executable, PROGRAMS / f"at_{self.program}.py", *steps, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        print(done.stdout, done.stderr)
        return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SEEN ")]

    def create_pool(self, name: str, host: str) -> None:
        """One more pool, with a host that need not be on the farm."""
        manager = self.office.place.profile("bert", Role.MANAGER)
        with Client(Profile.load(str(manager)), timeout=30) as client:
            client.create_pool(name, [host], new_hosts=True)

    @property
    def fenced(self) -> list[dict[str, Any]]:
        """How each job that arrived is fenced."""
        return [
            {
                "mask": job.get("hosts_mask_exclude") or None,
                "type": job.get("hosts_mask_type"),
                "pool": json.loads(job.get("custom_data", "{}")).get("afpools", {}).get("pool"),
            }
            for job in self.office.farm.jobs
        ]


def undated(text: str) -> str:
    """What stands beside a chooser, without the time at which it was true."""
    return re.sub(r"\(20\d\d-\d\d-\d\d \d\d:\d\d\)", "(then)", text)


def open_desk(folder: Path, program: str, path: list[str], variables: dict[str, str]) -> Iterator[Desk]:
    """`path` and the values of `variables` are relative to CGRU's folder."""
    if not STOCK:
        pytest.skip("CGRU_LOCATION names no CGRU")
    cgru = link_to(Path(STOCK), folder / "cgru")
    plugin = PLUGINS[program]()
    install(plugin, plan(plugin, cgru), "test")
    for office in open_office(cgru, folder):
        there = {
            name: os.pathsep.join(str(cgru / each) for each in value.split(os.pathsep))
            for name, value in variables.items()
        }
        yield Desk(office, program, [cgru / each for each in path], there)
