"""The scan as a library: real sockets on loopback, and a simulated network where machines must be silent."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import os
import socket
import stat
import threading
from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afpools import HostSummary
from afpools_tools.network import scan
from afpools_tools.network.addresses import ScanError, ThisMachine, parse_target
from afpools_tools.network.scan import Finding, Scanner, ScanResult, Settings, farm_name, keep, last_result, mark

QUICK = Settings(ports=(22, 445), rate=10_000, wait=0.05)
HERE = ThisMachine("TD-Desk", (IPv4Interface("10.0.0.9/24"),), None)


class Wire:
    """A network in which some machines accept, some refuse, and all others swallow everything.

    Args:
        accept: addresses and ports that accept.
        refuse: those that refuse.
    """

    def __init__(self, accept=(), refuse=(), names=None):
        self.accept, self.refuse, self.names = set(accept), set(refuse), names or {}
        self.tried = []
        self.under_way = self.most_at_once = 0

    async def connect(self, address, port):
        self.tried.append((str(address), port))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if (str(address), port) in self.refuse:
                raise ConnectionRefusedError
            if (str(address), port) not in self.accept:
                await asyncio.Event().wait()
        finally:
            self.under_way -= 1

    async def resolve(self, address):
        return self.names.get(str(address), "")

    def scanner(self, network, settings=QUICK):
        return Scanner(parse_target(network), HERE, settings, connect=self.connect, resolve=self.resolve)


def finding(address="10.0.0.1", resolved="", **changes):
    values = {"port": 22, "accepted": True, "this_machine": False, **changes}
    return Finding(address=IPv4Address(address), resolved=resolved, **values)


# --- finding --------------------------------------------------------------------------------------------------------


def test_machines_that_accept_and_that_refuse_are_found_on_real_sockets():
    with socket.create_server(("127.0.0.2", 0)) as open_port:
        port = open_port.getsockname()[1]
        result = asyncio.run(
            Scanner(parse_target("127.0.0.0/29"), HERE, Settings(ports=(port,), rate=10_000, wait=5)).run()
        )
    assert [(str(f.address), f.accepted) for f in result.findings] == [(f"127.0.0.{n}", n == 2) for n in range(1, 7)]
    assert (result.tried, result.addresses, result.complete, result.trouble) == (6, 6, True, "")


def test_a_machine_that_answers_on_one_port_only_is_found_by_it():
    wire = Wire(accept=[("10.0.0.3", 445)], refuse=[("10.0.0.4", 22)], names={"10.0.0.3": "PC-03.studio.lan"})
    result = asyncio.run(wire.scanner("10.0.0.0/28").run())
    assert result.findings == (
        finding("10.0.0.3", "PC-03.studio.lan", port=445),
        finding("10.0.0.4", accepted=False),
    )


def test_no_address_outside_is_tried_and_a_silent_one_once_per_port():
    wire = Wire()
    result = asyncio.run(wire.scanner("10.0.0.0/28").run())
    assert sorted(wire.tried) == sorted((f"10.0.0.{n}", port) for n in range(1, 15) for port in (22, 445))
    assert result.findings == ()
    assert result.complete


def test_a_machine_that_has_answered_is_left_alone():
    wire = Wire(accept=[("10.0.0.1", 22)])
    # Slow enough that the answer arrives long before the next port's turn.
    asyncio.run(wire.scanner("10.0.0.1", QUICK._replace(rate=5)).run())
    assert wire.tried == [("10.0.0.1", 22)]


def test_no_more_connections_are_under_way_than_a_process_may_have_files():
    wire = Wire()
    asyncio.run(wire.scanner("10.0.0.0/24").run())
    assert 2 < wire.most_at_once <= 100


def test_this_machine_has_the_name_it_gives_itself():
    wire = Wire(accept=[("10.0.0.9", 22)], names={"10.0.0.9": "dhcp-9.studio.lan"})
    (found,) = asyncio.run(wire.scanner("10.0.0.9").run()).findings
    assert (found.this_machine, found.resolved) == (True, "TD-Desk")


def test_progress_ends_with_all_addresses():
    wire, seen = Wire(accept=[("10.0.0.3", 22)]), []
    asyncio.run(wire.scanner("10.0.0.0/28").run(seen.append))
    assert [progress.tried for progress in seen] == list(range(1, 15))
    assert seen[-1] == (14, 14, 1)


def test_a_cancelled_scan_stops_connecting_and_has_what_was_found():
    wire = Wire(accept=[("10.0.0.1", 22)])

    async def cancel_after_the_first():
        found = asyncio.Event()
        scanner = wire.scanner("10.0.0.0/20", QUICK._replace(wait=60))
        task = asyncio.create_task(scanner.run(lambda _progress: found.set()))
        await found.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return scanner.result()

    result = asyncio.run(cancel_after_the_first())
    assert [str(f.address) for f in result.findings] == ["10.0.0.1"]
    assert not result.complete
    assert wire.under_way == 0
    assert len(wire.tried) < 200


def test_our_own_errors_are_distinguished_from_silence():
    async def no_route(_address, _port):
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    async def nobody_there(_address, _port):
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    target = parse_target("10.0.0.0/30")
    assert asyncio.run(Scanner(target, HERE, QUICK, connect=no_route).run()).trouble == "Network is unreachable"
    assert asyncio.run(Scanner(target, HERE, QUICK, connect=nobody_there).run()).trouble == ""


@pytest.mark.parametrize(
    "settings",
    [
        Settings(ports=()),
        Settings(ports=(0,)),
        Settings(ports=(65536,)),
        Settings(ports=tuple(range(1, 18))),
        Settings(rate=0),
        Settings(rate=float("nan")),
        Settings(wait=0),
        Settings(wait=float("inf")),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_sent(settings):
    with pytest.raises(ScanError, match=r"give|use"):
        Scanner(parse_target("10.0.0.0/24"), HERE, settings)


def test_its_duration_is_known_in_advance():
    assert Settings(ports=(22, 445), rate=100, wait=1).seconds(254) == pytest.approx(254 * 2 / 100 + 1)
    assert Settings(ports=(22,), rate=10_000, wait=1).seconds(500) == pytest.approx(500 / 50 + 1)


def test_connections_begin_no_faster_than_the_rate_allows(monkeypatch):
    now, begun = [100.0], []

    async def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(scan.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(scan.asyncio, "sleep", sleep)

    async def take_turns():
        pace = scan._Pace(rate=4)
        for _ in range(5):
            await pace.turn()
            begun.append(now[0])

    asyncio.run(take_turns())
    assert begun == [100.0, 100.25, 100.5, 100.75, 101.0]


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_name_server_that_hangs_costs_names_but_not_the_scan(monkeypatch):
    release = threading.Event()
    asked = []

    def hang(address, _flags):
        asked.append(address)
        release.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(scan.socket, "getnameinfo", hang)
    monkeypatch.setattr(scan, "_NAME_SECONDS", 0.05)
    wire = Wire(refuse=[(f"10.0.0.{n}", 22) for n in range(1, 63)])
    scanner = Scanner(parse_target("10.0.0.0/26"), HERE, QUICK, connect=wire.connect)
    try:
        result = asyncio.run(scanner.run())
    finally:
        release.set()
    assert len(result.findings) == 62
    assert {found.resolved for found in result.findings} == {"", "TD-Desk"}
    assert len(asked) <= 16, "threads that hang keep their places"


def test_the_systems_own_name_service_is_asked():
    resolve = scan.name_service()
    expected = socket.getnameinfo(("127.0.0.1", 0), socket.NI_NAMEREQD)[0]
    assert asyncio.run(_ask(resolve, "127.0.0.1")) == expected


async def _ask(resolve, address):
    return await resolve(IPv4Address(address))


@pytest.mark.parametrize(
    ("resolved", "name"),
    [
        ("LT-PC-01.studio.lan", "lt-pc-01"),
        ("render_7", "render_7"),
        ("localhost", ""),
        ("localhost.localdomain", ""),
        ("_gateway", ""),
        ("10.0.0.5", ""),
        ("pc-[1-9999].lan", ""),
        ("<img src=x onerror=alert(1)>", ""),
        ("pc\x1b[31m", ""),
        ("", ""),
    ],
)
def test_only_valid_host_names_count_as_names(resolved, name):
    assert farm_name(resolved) == name


@settings(deadline=None)
@given(st.text())
def test_a_name_from_a_name_service_is_always_one_host_and_never_a_range(resolved):
    from afpools_broker.pools.hosts import expand

    name = farm_name(resolved)
    assert name == "" or expand([name]) == (name,)


# --- what the farm makes of it --------------------------------------------------------------------------------------


def marked(found, *hosts):
    (machine,) = mark([found], hosts)
    return machine


def test_a_machine_is_the_host_with_its_name_however_that_is_spelled():
    render = HostSummary("lt-pc-01", ("online",), pools=("fx", "night"))
    machine = marked(finding(resolved="LT-PC-01.studio.lan"), render)
    assert (machine.host, machine.name, machine.is_render, machine.pools) == (render, "lt-pc-01", True, ("fx", "night"))


def test_a_render_with_another_name_is_recognised_by_its_address():
    render = HostSummary("Blade7", ("online", "busy"), address="10.0.0.1")
    machine = marked(finding(resolved="pc-07.studio.lan"), render)
    assert (machine.host, machine.name) == (render, "Blade7")


def test_an_offline_renders_address_may_be_another_machines_now():
    render = HostSummary("pc-07", ("offline",), address="10.0.0.1")
    assert marked(finding(resolved="new-pc"), render).host is None
    assert marked(finding(resolved=""), render).host == render


def test_a_host_that_was_only_registered_is_known_but_not_a_render():
    machine = marked(finding(resolved="pc-07"), HostSummary("pc-07", registered=True))
    assert machine.host is not None
    assert not machine.is_render


def test_an_unknown_machine_is_new():
    machine = marked(finding(resolved="pc-08.studio.lan"), HostSummary("pc-07", ("online",), address="10.0.0.7"))
    assert (machine.host, machine.name, machine.pools) == (None, "pc-08", ())


# --- the last result ------------------------------------------------------------------------------------------------


def test_a_result_is_kept_for_its_owner_only_and_read_back_as_it_was(tmp_path):
    wire = Wire(accept=[("10.0.0.3", 445)], names={"10.0.0.3": "pc-03"})
    result = asyncio.run(wire.scanner("10.0.0.0/28").run())
    file = tmp_path / "state" / "last.json"
    keep(result, file)
    assert last_result(file) == result
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_scan_it_says_that_nothing_was_scanned(tmp_path):
    with pytest.raises(ScanError, match="Nothing has been scanned yet"):
        last_result(tmp_path / "last.json")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"version": 2}', b"null"])
def test_a_damaged_result_is_an_error_that_says_what_to_do(tmp_path, damage):
    file = tmp_path / "last.json"
    file.write_bytes(damage)
    with pytest.raises(ScanError, match="Scan again"):
        last_result(file)


@settings(deadline=None)
@given(st.data())
def test_a_result_with_a_byte_changed_is_read_or_refused(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "changed.json"
    network, now = parse_target("10.0.0.0/30").network, dt.datetime.now(dt.UTC)
    keep(ScanResult(network, now, seconds=1.0, addresses=2, tried=2, findings=(finding(),)), file)
    whole = bytearray(file.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(whole)
    with contextlib.suppress(ScanError):
        last_result(file)
