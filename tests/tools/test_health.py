"""`tools/health.py` as monitoring runs it: a process, from the checkout, with nothing but the standard library."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.afserver import afserver
from tests.broker.live.conftest import put_job
from tests.broker.store.places import wait_until
from tests.studio import Studio, studio
from tests.working_afserver import working_afserver

from afpools import Client
from afpools.profile import Profile
from afpools_broker.protocol import Role

SCRIPT = Path(__file__).parents[2] / "tools" / "health.py"
PERFDATA = re.compile(r"'([^'=|]+)'=([0-9.]+)(ms|s|c|);;;0(?: |$)")

Check = Callable[..., tuple[int, str, dict[str, float]]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs the check, and returns its exit status, its text and its numbers."""

    def check(*arguments: object, **variables: str) -> tuple[int, str, dict[str, float]]:
        done = subprocess.run(
            # Without site-packages and PYTHONPATH: only the standard library can be imported.
            [sys.executable, "-E", "-S", SCRIPT, *map(str, arguments)],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        (line,) = done.stdout.splitlines()
        text, _, numbers = line.partition(" | ")
        assert "".join(match.group() for match in PERFDATA.finditer(numbers)) == numbers
        return done.returncode, text, {match[1]: float(match[2]) for match in PERFDATA.finditer(numbers)}

    return check


@pytest.fixture
def place(tmp_path: Path):
    with studio(tmp_path / "studio") as made:
        yield made


def over_tls(profile: Path, *more: str) -> str:
    """The address of a profile's first endpoint; others replace the rest, except those over CURVE."""
    file = profile / "profile.json"
    document = json.loads(file.read_text())
    first = next(endpoint for endpoint in document["endpoints"] if endpoint["url"].startswith("tls:"))
    curve = [endpoint for endpoint in document["endpoints"] if endpoint["url"].startswith("curve:")]
    document["endpoints"] = [first, *({"url": url} for url in more), *curve]
    file.write_text(json.dumps(document))
    return str(first["url"])


def unused() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"tls://127.0.0.1:{server.getsockname()[1]}"


def test_a_healthy_broker_is_ok(place: Studio, check: Check) -> None:
    with Client(Profile.load(str(place.profile("anna", Role.MANAGER)))) as client:
        client.create_pool("fx", ["pc-01"], new_hosts=True)
    profile = place.profile("bert")
    status, text, numbers = check("--profile", profile)
    assert (status, text) == (0, "AFPOOLS OK - the endpoint answers")
    assert numbers.pop(over_tls(profile)) > 0
    assert (numbers["broker pools"], numbers["broker renders"]) == (1, 0)
    assert numbers["broker connections"] >= 1


def test_the_profile_is_found_where_a_plug_in_finds_it(place: Studio, check: Check) -> None:
    assert check(AFPOOLS_PROFILE=str(place.profile("bert")))[0] == 0


def test_every_endpoint_is_tried_and_a_broken_one_is_a_warning(place: Studio, check: Check) -> None:
    profile, dead = place.profile("bert"), unused()
    works = over_tls(profile, dead)
    status, text, numbers = check("--profile", profile)
    assert status == 1
    assert text.startswith(f"AFPOOLS WARNING - 1 of 2 endpoints answer. {dead} does not work: ")
    assert works in numbers
    assert dead not in numbers


def test_a_brokers_own_problems_are_a_warning(tmp_path: Path, check: Check) -> None:
    with afserver() as server:
        address = "{}:{}".format(*server.address)
    with studio(tmp_path / "studio", farm={"server": address, "timeout": 0.5}) as place:
        status, text, _ = check("--profile", place.profile("bert"))
    assert status == 1
    assert text.startswith("AFPOOLS WARNING - the endpoint answers. ")
    assert address in text


def test_the_fences_of_running_jobs_are_among_the_numbers(tmp_path: Path, check: Check) -> None:
    with working_afserver("pc-01", "pc-02", "pc-03") as server, ExitStack() as stack:
        farm = {"server": "{}:{}".format(*server.address), "interval": 0.2}
        place = stack.enter_context(studio(tmp_path / "studio", farm=farm, live={"enabled": True}))
        client = stack.enter_context(Client(Profile.load(str(place.profile("anna", Role.MANAGER)))))
        wait_until(lambda: len(client.list_hosts().hosts) == 3)
        client.create_pool("fx", ["pc-01", "pc-02"])
        wait_until(lambda: client.jobs().keeping)
        mask = client.exclude_mask("fx")
        put_job(server, mask.mask, "fx", mask.revision, rounds=1_000_000)
        wait_until(lambda: len(client.jobs().jobs) == 1)
        client.remove_hosts("fx", ["pc-02"])
        wait_until(lambda: client.jobs().jobs[0].moved != "")
        status, text, numbers = check("--profile", place.profile("bert"))
    assert status == 0, text
    assert (numbers["broker live jobs"], numbers["broker fences moved"], numbers["broker fences refused"]) == (1, 1, 0)
    assert {"broker fences behind", "broker live jobs age"} <= numbers.keys()


def test_without_live_pools_there_are_no_numbers_of_fences(place: Studio, check: Check) -> None:
    assert not [name for name in check("--profile", place.profile("bert"))[2] if "fences" in name or "live" in name]


def test_if_nobody_answers_it_is_critical(place: Studio, check: Check) -> None:
    profile = place.profile("bert")
    place.broker.stop()
    status, text, numbers = check("--profile", profile, "--timeout", 2)
    assert (status, numbers) == (2, {})
    assert text.startswith("AFPOOLS CRITICAL - No broker answered.")


def test_a_check_that_cannot_ask_reports_unknown(place: Studio, check: Check, tmp_path: Path) -> None:
    profile = place.profile("bert")
    only_curve = profile / "profile.json"
    document = json.loads(only_curve.read_text())
    document["endpoints"] = [one for one in document["endpoints"] if one["url"].startswith("curve:")]
    only_curve.write_text(json.dumps(document))
    for arguments, why in (
        ((), "profile"),
        (("--profile", tmp_path / "nix"), "nix"),
        (("--profile", profile), "CURVE needs pyzmq"),
        (("--timeout", "soon"), "invalid float value: 'soon'"),
        (("--timeout", "0"), "--timeout: 0 is not valid (use 0.1 to 600)"),
        (("--nix",), "unrecognized arguments: --nix"),
    ):
        status, text, numbers = check(*arguments)
        assert (status, numbers) == (3, {}), text
        assert text.startswith("AFPOOLS UNKNOWN - ")
        assert why in text


def test_the_names_in_a_profile_cannot_break_the_line(place: Studio, check: Check) -> None:
    profile = place.profile("bert")
    file = profile / "profile.json"
    document = json.loads(file.read_text())
    document["endpoints"][0]["broker"] = "a'b|c=d\ne"
    file.write_text(json.dumps(document))
    status, _, numbers = check("--profile", profile)
    assert status == 0
    assert "abcde pools" in numbers
