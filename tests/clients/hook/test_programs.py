"""CGRU's own scripts for other programs, within the hook: their jobs get a pool, or are not sent.

The programs themselves are not here. What is in `programs/` stands in for their modules, and runs CGRU's files as they
are; for 3ds Max and After Effects, which start afjob.py, the command line is the one that their scripts build.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
from pathlib import Path

import pytest

from .conftest import FX, Office, not_sent, pool_of

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = pytest.mark.heavy

SCRIPTS = {"houdini.py": "plugins/houdini", "nuke_.py": "", "c4d_.py": "", "clarisse.py": "", "maya.py": ""}


def start(office: Office, script: str) -> tuple[int, str]:
    if script == "clarisse.py":
        if importlib.util.find_spec("PySide6") is None:
            pytest.skip("PySide6 is not installed")
        office.variables["QT_QPA_PLATFORM"] = "offscreen"
    path = office.env["PYTHONPATH"].split(os.pathsep)
    if SCRIPTS[script]:
        path.insert(0, str(office.cgru / SCRIPTS[script]))
    done = office.run(
        office.env["CGRU_PYTHONEXE"], PROGRAMS / script, env={**office.env, "PYTHONPATH": os.pathsep.join(path)}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_job_of_a_program_is_kept_on_its_pool(stock_office: Office, script: str) -> None:
    stock_office.variables["AFPOOLS_POOL"] = "fx"
    status, said = start(stock_office, script)
    assert (status, len(stock_office.farm.jobs)) == (0, 1), said
    assert (pool_of(stock_office.job), stock_office.job["hosts_mask_exclude"]) == ("fx", FX)


@pytest.mark.parametrize("script", SCRIPTS)
def test_without_a_pool_the_job_of_a_program_is_as_ever(stock_office: Office, script: str) -> None:
    assert start(stock_office, script)[0] == 0
    assert pool_of(stock_office.job) is None


@pytest.mark.parametrize("script", SCRIPTS)
def test_where_no_mask_is_available_a_program_sends_nothing_and_says_why(stock_office: Office, script: str) -> None:
    stock_office.say(pool="fx")
    stock_office.broker_away()
    _, said = start(stock_office, script)
    assert "The job was not sent: it cannot be kept on the pool 'fx'" in said
    assert stock_office.farm.jobs == []


def test_a_mask_that_was_typed_in_mayas_window_is_joined(stock_office: Office) -> None:
    stock_office.variables.update(AFPOOLS_POOL="fx", EXCLUDE="pc-01")
    assert start(stock_office, "maya.py")[0] == 0
    assert json.loads(stock_office.job["custom_data"])["afpools"]["exclude"] == "pc-01"


# As afanasy.mcr and Afanasy.jsx build them, with the values of their dialogs' fields.
COMMANDS = {
    "3ds Max": '"{afjob}" "{home}/shot.max" 1 10 -by 1 -fpt 1 -seq 1 -name "shot" -hostsexcl "pc-01" -pwd "{home}" '
    "-pause -tempscene -deletescene",
    "After Effects": '"{afjob}" "{home}/shot.aep" 1 10 -by 1 -fpt 1 -node "comp" -name "shot.aep" -images '
    '"{home}/out.[####].exr" -hostsmask "" -hostsexcl "" -tempscene -deletescene -pause',
}


@pytest.mark.parametrize("program", COMMANDS)
def test_programs_that_start_afjob(stock_office: Office, program: str) -> None:
    for scene in ("shot.max", "shot.aep"):
        (stock_office.home / scene).write_text("scene")
    afjob = stock_office.cgru / "afanasy/python/afjob.py"
    command = shlex.split(COMMANDS[program].format(afjob=afjob, home=stock_office.home))
    stock_office.variables["AFPOOLS_POOL"] = "fx"
    done = stock_office.python(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pool_of(stock_office.job) == "fx"
    stock_office.broker_away()
    assert "cannot be kept on the pool 'fx'" in not_sent(stock_office.python(*command))
    assert len(stock_office.farm.jobs) == 1


def test_moviemaker(stock_office: Office) -> None:
    for frame in range(1, 4):
        (stock_office.home / f"out.{frame:04}.png").touch()
    stock_office.variables["AFPOOLS_POOL"] = "fx"
    script = stock_office.cgru / "utilities/moviemaker/makemovie.py"
    # What ImageMagick says of an image.
    looks = "echo PNG 640x480 640x480+0+0 8-bit sRGB; true"
    images, movie = stock_office.home / "out.####.png", stock_office.home / "out"
    command = script, "--afanasy", "-r", "640x480", "-i", looks, images, movie
    done = stock_office.python(*command)
    assert pool_of(stock_office.job) == "fx", done.stdout + done.stderr
    stock_office.variables["AFPOOLS_POOL"] = "-"
    stock_office.say(required=True)
    assert "requires a pool" in not_sent(stock_office.python(*command))


def test_rules_bin(stock_office: Office) -> None:
    frames = stock_office.home / "frames"
    frames.mkdir()
    for frame in range(1, 4):
        (frames / f"out.{frame:04}.png").touch()
    stock_office.variables["AFPOOLS_POOL"] = "fx"
    script = stock_office.cgru / "rules/bin/convert.py"
    done = stock_office.python(script, "--afanasy", "-t", "png", "-o", stock_office.home / "converted", frames)
    assert pool_of(stock_office.job) == "fx", done.stdout + done.stderr


def test_cgrus_own_setup_puts_the_hook_into_the_path(stock_office: Office) -> None:
    stock_office.variables.update(AFPOOLS_POOL="fx")
    scene = stock_office.home / "shot.nk"
    scene.touch()
    bare = {
        key: value
        for key, value in stock_office.env.items()
        if key not in ("PYTHONPATH", "CGRU_LOCATION", "AF_ROOT", "CGRU_PYTHONEXE")
    }
    # As start.sh does it, with a folder of the studio's own in the variable that CGRU has for that.
    program = 'source ./setup.sh; echo "PATH $PYTHONPATH" && python "$AF_ROOT/python/afjob.py" "$1" 1 10'
    done = stock_office.run(
        "bash", "-c", program, "setup", scene, env={**bare, "CGRU_CUSTOM_PYTHONPATH": "/studio"}, cwd=stock_office.cgru
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = [line[5:].split(":") for line in done.stdout.splitlines() if line.startswith("PATH ")]
    assert path.index(str(stock_office.hook)) < path.index("/studio")
    assert path.count(str(stock_office.hook)) == 1
    assert pool_of(stock_office.job) == "fx"
