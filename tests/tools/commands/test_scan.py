"""`afpools scan` as a TD types it: on loopback, with a real broker."""

from __future__ import annotations

import json
import re
import signal
import socket
from ipaddress import IPv4Interface

import pytest
from tests.command import environment, terminal

from afpools_tools.commands import scan as scan_command
from afpools_tools.network import addresses, scan

NAMES = {"127.0.0.2": "PC-02.studio.lan", "127.0.0.3": "pc-03.studio.lan", "127.0.0.4": "pc-04"}
# Loopback refuses everywhere, so that each of 127.0.0.1 to 127.0.0.6 is a machine.
SIX = ("scan", "127.0.0.0/29", "--port", "9")


@pytest.fixture(autouse=True)
def named(monkeypatch):
    """Names for three of them; 127.0.0.1 is this machine."""

    def name_service():
        async def resolve(address):
            return NAMES.get(str(address), "")

        return resolve

    here = addresses.ThisMachine("td-desk", (IPv4Interface("127.0.0.1/8"),), None)
    monkeypatch.setattr(scan, "name_service", name_service)
    monkeypatch.setattr(scan_command, "this_machine", lambda: here)


def rows(text):
    return [re.split(r"\s{2,}", line.rstrip()) for line in text.splitlines()[1:]]


def test_found_machines_are_shown_with_what_the_farm_says_about_them(manager):
    manager("pool", "create", "fx", "PC-02")
    manager("host", "register", "pc-03")
    shown = manager(*SIX)
    assert shown.status == 0
    assert "Scanning 127.0.0.0/29: 6 addresses" in shown.err
    assert "6 machines found in 127.0.0.0/29." in shown.err
    table = {row[0]: row[1:] for row in rows(shown.out)}
    assert table["127.0.0.1"] == ["td-desk", "new", "port 9, refused; this machine"]
    assert table["127.0.0.2"] == ["pc-02", "only in pools", "fx", "port 9, refused"]
    assert table["127.0.0.3"][:2] == ["pc-03", "registered"]
    assert table["127.0.0.4"][:2] == ["pc-04", "new"]


def test_only_new_machines_for_programs(manager):
    manager("pool", "create", "fx", "pc-02")
    made = json.loads(manager(*SIX, "--new", "--json").out)
    assert (made["tried"], made["complete"]) == (6, True)
    assert "pc-02" not in [machine["name"] for machine in made["machines"]]
    assert {machine["new"] for machine in made["machines"]} == {True}
    everything = json.loads(manager(*SIX, "--json").out)["machines"]
    assert everything[1] == {
        "address": "127.0.0.2",
        "name": "pc-02",
        "resolved": "PC-02.studio.lan",
        "port": 9,
        "accepted": False,
        "this_machine": False,
        "new": False,
        "render": False,
        "states": [],
        "pools": ["fx"],
    }


def test_without_a_broker_it_scans_and_says_what_is_unknown(afpools):
    shown = afpools(*SIX)
    assert shown.status == 0
    assert "The farm could not be asked about the machines." in shown.err
    assert shown.out.count("not known") == 6
    quiet = afpools(*SIX, "--no-broker", "--json")
    assert {machine["new"] for machine in json.loads(quiet.out)["machines"]} == {None}


@pytest.mark.parametrize("option", ["--new", "--register"])
def test_options_that_need_the_broker_are_refused_before_the_scan(afpools, option):
    without = afpools(*SIX, option)
    assert without.status == 1
    assert "Scanning" not in without.err
    assert afpools(*SIX, option, "--no-broker").status == 2


def test_new_machines_are_registered_after_confirmation(manager):
    refused = manager(*SIX, "--register", given="n\n")
    assert refused.status == 1
    assert "pc-02" not in manager("host", "list").out
    done = manager(*SIX, "--register", given="y\n")
    assert "Register these 3 hosts: pc-[02-04]?" in done.err + done.out
    assert "Registered pc-[02-04]." in done.out, "and this machine was left out"
    assert "Nothing to do" in manager(*SIX, "--register", "--yes").out


def test_chosen_machines_are_added_to_a_pool_even_known_ones(manager):
    manager("pool", "create", "fx")
    manager("host", "register", "pc-02")
    assert "Added pc-[02-03] to fx." in manager(*SIX, "--add-to", "fx", "--only", "pc-[02-03]", "--yes").out
    assert json.loads(manager("pool", "show", "fx", "--json").out)["hosts"] == ["pc-02", "pc-03"]
    missing = manager(*SIX, "--add-to", "nonsense", "--register", "--yes")
    assert missing.status == 1
    assert "Scanning" not in missing.err, "nobody should wait minutes to learn of a mistyped name"
    assert "pc-04" not in manager("host", "list").out, "nothing was registered on the way"


def test_a_reader_may_look_but_not_add(reader):
    assert reader(*SIX).status == 0
    refused = reader(*SIX, "--register", "--yes")
    assert refused.status == 1
    assert "only a manager" in refused.err
    assert "Scanning" not in refused.err


def test_the_last_result_is_shown_with_what_the_farm_says_now(manager):
    assert "Nothing has been scanned yet" in manager("scan", "--last").err
    manager(*SIX)
    manager("host", "register", "pc-04")
    shown = manager("scan", "--last")
    assert {row[0]: row[2] for row in rows(shown.out)}["127.0.0.4"] == "registered"
    assert "Scanning" not in shown.err
    assert manager("scan", "127.0.0.0/29", "--last").status == 2


def test_a_result_that_cannot_be_kept_is_still_shown(afpools, tmp_path):
    (tmp_path / ".local").write_text("in the way")
    shown = afpools(*SIX, "--no-broker")
    assert shown.status == 0
    assert "not kept" in shown.err
    assert len(rows(shown.out)) == 6


@pytest.mark.parametrize("network", ["10.0.0.0/19", "fd00::/64", "pc-01"])
def test_a_network_that_is_not_scanned_is_one_line(afpools, network):
    refused = afpools("scan", network)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("afpools: ")


@pytest.mark.heavy
def test_ctrl_c_at_a_terminal_shows_what_was_found_so_far(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # At one connection per second, it would take 254 seconds.
        command = ("scan", "127.0.0.0/24", "--no-broker", "--port", port, "--rate", "1")
        with terminal(*command, env=environment(tmp_path), columns=120) as shown:
            shown.wait_for("1 found")
            shown.process.send_signal(signal.SIGINT)
            assert shown.finish() == 130
    assert "127.0.0.1" in shown.shown
    assert "The scan was cancelled" in shown.shown
    kept = scan.last_result(tmp_path / ".local/state/afanasy-pools/last-scan.json")
    assert not kept.complete
    assert kept.findings


def test_an_invalid_range_is_refused_before_anything_is_scanned(manager):
    refused = manager(*SIX, "--only", "pc-[")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("afpools: 'pc-[' is neither a host name nor a range of hosts.")
    assert "Scanning" not in refused.err
