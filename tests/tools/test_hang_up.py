"""SIGHUP: `afpools serve` reads its files again; programs at a terminal end."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.command import AFPOOLS, Running, environment, run, running
from tests.studio import point

from afpools import AfpoolsError, Client, Profile
from afpools_tools.credentials.authority import Authority

pytestmark = pytest.mark.heavy


@pytest.fixture
def broker(config: Path, tmp_path: Path) -> Iterator[Running]:
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as made:
        made.wait_for(" serves; store: ")
        yield made


@pytest.fixture
def hang_up(broker: Running) -> Callable[..., str]:
    """Sends SIGHUP, and returns what the broker logs about it, up to and including a text."""

    def hang_up(expected: str = "SIGHUP: changed: ") -> str:
        before = len(broker.err)
        broker.process.send_signal(signal.SIGHUP)
        wait_until(lambda: expected in broker.err[before:], broker)
        # To the end of that line.
        wait_until(lambda: broker.err[before:].partition(expected)[2].endswith("\n"), broker)
        return broker.err[before:]

    return hang_up


def wait_until(condition: Callable[[], object], broker: Running) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert broker.process.poll() is None, broker.err
        assert time.monotonic() < until, broker.err
        time.sleep(0.02)


def edit(config: Path, section: str, text: str) -> None:
    """Puts a line right below a section's header."""
    config.write_text(config.read_text().replace(f"[{section}]\n", f"[{section}]\n{text}\n", 1))


def ports(broker: Running) -> dict[str, int]:
    lines = broker.err.splitlines()
    return {
        name.lower(): next(int(line.rsplit(" ", 1)[1]) for line in lines if f" {name}: listening" in line)
        for name in ("TLS", "CURVE")
    }


def client(config: Path, broker: Running, name: str = "manager", scheme: str = "tls", timeout: float = 20) -> Client:
    folder = config.parent / "certs" / "profiles" / name
    point(folder, **ports(broker))
    profile = Profile.load(str(folder))
    endpoints = tuple(endpoint for endpoint in profile.endpoints if endpoint.scheme == scheme)
    return Client(profile._replace(endpoints=endpoints), timeout=timeout)


def test_it_keeps_serving_and_open_connections_stay(config, broker, hang_up):
    with client(config, broker) as tls, client(config, broker, scheme="curve") as curve:
        tls.create_pool("fx", ["pc-01"])
        curve.hello()
        assert "SIGHUP: changed: nothing\n" in hang_up()
        assert [pool.name for pool in tls.list_pools().pools] == ["fx"]
        assert curve.list_pools().pools == tls.list_pools().pools
    assert broker.stop() == 0


def test_settings_that_can_change_at_run_time_do_and_the_log_shows_both_values(config, broker, hang_up):
    edit(config, "farm", "refuse_after = 120.0\nflag_after = 30.0")
    edit(config, "broker", 'log_level = "error"')
    said = hang_up()
    farm = "[farm] flag_after: 60.0 -> 30.0; [farm] refuse_after: 3600.0 -> 120.0"
    assert f"changed: {farm}; [broker] log_level: info -> error\n" in said
    config.write_text(config.read_text().replace('log_level = "error"', 'log_level = "debug"'))
    assert "changed: [broker] log_level: error -> debug\n" in hang_up()
    assert "changed: nothing\n" in hang_up()


def test_new_limits_apply_from_then_on_and_open_connections_stay(config, broker, hang_up):
    with client(config, broker) as first, client(config, broker) as second:
        first.hello()
        edit(config, "limits", "connections_per_client = 1")
        assert "[limits] connections_per_client: 64 -> 1\n" in hang_up()
        with pytest.raises(AfpoolsError):
            second.hello()
        first.hello()
        config.write_text(config.read_text().replace("connections_per_client = 1", "connections_per_client = 2"))
        assert "[limits] connections_per_client: 1 -> 2\n" in hang_up()
        second.hello()


def test_settings_that_need_a_restart_are_named_each_time_without_their_values(config, broker, hang_up):
    edit(config, "limits", "")
    config.write_text(config.read_text().replace("sqlite:///pools.sqlite", "mongodb://anna:pa55word@db/afpools"))
    edit(config, "curve", "enabled = false")
    for _ in range(2):
        said = hang_up("must be restarted to take over: ")
        assert "changed: nothing\n" in said
        assert "WARNING SIGHUP: the broker must be restarted to take over: [store] uri; [curve] enabled\n" in said
    assert "pa55word" not in broker.err
    with client(config, broker, scheme="curve") as curve:
        curve.hello()


def test_with_an_invalid_file_everything_stays_and_one_line_says_why(config, broker, hang_up):
    whole = config.read_text()
    for damage, said in (
        (lambda: config.write_text("rubbish"), "cannot be read as TOML"),
        (lambda: edit(config, "farm", "interval = 0.0"), "[farm] interval = 0.0: expected `float` > 0.0"),
        (lambda: edit(config, "store", 'password_file = "nowhere"'), "[store] password_file: "),
        (config.unlink, "there is no such file"),
    ):
        edit(config, "broker", 'log_level = "error"')
        damage()
        heard = hang_up()
        (error,) = [line for line in heard.splitlines() if " ERROR " in line]
        assert "SIGHUP: the configuration stays as it is. " in error
        assert said in error
        assert "Traceback" not in heard
        assert "changed: nothing\n" in heard
        config.write_text(whole)
    assert "ERROR" not in hang_up()


def test_keys_and_certificates_are_read_again_even_where_a_file_does_not_look_changed(config, broker, hang_up):
    certs = config.parent / "certs"
    key = certs / "clients" / "reader.key"
    with client(config, broker, "reader", scheme="curve") as reader:
        assert reader.hello().role == "reader"
        wait_until(lambda: time.time() - key.stat().st_mtime > 3.5, broker)
        hang_up()
        times = key.stat().st_atime_ns, key.stat().st_mtime_ns
        # The same length, the same file, the same time: a restored backup, for example.
        with key.open("r+") as file:
            text = file.read()
            file.seek(0)
            file.write(text.replace('role = "reader"', 'role= "manager"'))
        os.utime(key, ns=times)
        assert "changed: keys and certificates\n" in hang_up()
        assert reader.hello().role == "manager"


def test_new_curve_keys_of_the_broker_need_a_restart_and_are_named(config, broker, hang_up):
    certs = config.parent / "certs"
    Authority.open(certs).issue_broker("broker", ["127.0.0.1"], force=True)
    said = hang_up("must be restarted to take over: ")
    assert f"the CURVE keys in {certs / 'brokers' / 'broker.key_secret'}\n" in said


def test_signals_before_it_is_ready_twice_in_a_row_and_while_it_stops_do_no_harm(config, tmp_path):
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
        status = Path(f"/proc/{broker.process.pid}/status")
        # From the moment when it blocks the signal, which is long before it has loaded its own code.
        wait_until(lambda: int(status.read_text().split("SigBlk:")[1].split()[0], 16) & 1, broker)
        while " serves; store: " not in broker.err:
            assert broker.process.poll() is None
            broker.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        wait_until(lambda: "SIGHUP: changed: nothing\n" in broker.err, broker)
        for _ in range(100):
            broker.process.send_signal(signal.SIGHUP)
        broker.process.send_signal(signal.SIGTERM)
        while broker.process.poll() is None:
            broker.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
    assert broker.process.returncode == 0
    assert "Traceback" not in broker.err
    assert "ERROR" not in broker.err


def test_a_store_that_hangs_delays_neither_the_reload_nor_the_end(config, broker, hang_up):
    with client(config, broker, timeout=5) as writer, client(config, broker, "reader") as reader:
        writer.create_pool("fx", ["pc-01"])
        with contextlib.closing(sqlite3.connect(config.parent / "pools.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            writing = threading.Thread(target=write_in_vain, args=(writer,))
            writing.start()
            edit(config, "farm", "interval = 9.0")
            assert "[farm] interval: 5.0 -> 9.0" in hang_up()
            assert [pool.name for pool in reader.list_pools().pools] == ["fx"]
            broker.process.send_signal(signal.SIGHUP)
            assert broker.stop() == 0
            writing.join(30)


def write_in_vain(client: Client) -> None:
    with pytest.raises(AfpoolsError):
        client.create_pool("night", ["pc-02"])


def test_a_file_that_hangs_delays_neither_answers_nor_the_end(config, broker):
    with client(config, broker) as connected:
        config.unlink()
        os.mkfifo(config)  # like a network share that does not answer
        for number in range(3):
            broker.process.send_signal(signal.SIGHUP)
            connected.create_pool(f"pool {number}", ["pc-01"])
        assert broker.stop() == 0


# --- programs at a terminal -----------------------------------------------------------------------------------------


def greeted(process: subprocess.Popen[bytes], master: int, text: bytes) -> None:
    shown = b""
    while text not in shown:
        shown += os.read(master, 65536)


@pytest.mark.parametrize("program", ["up", "manager"])
def test_a_closed_terminal_ends_what_was_started_there(config, tmp_path, program):
    state = tmp_path / "state"
    arguments = {
        "up": ("--state", state, "--curve-port", 0, "--tls-port", 0),
        "manager": ("--profile", config.parent / "certs" / "profiles" / "reader", "--no-browser", "--port", 0),
    }
    master, slave = pty.openpty()
    command = ["setsid", "--ctty", str(AFPOOLS), program, *map(str, arguments[program])]
    env = environment(tmp_path, TMPDIR=str(tmp_path))
    with subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave) as process:
        try:
            os.close(slave)
            greeted(process, master, b"Ctrl-C stops it.")
            os.close(master)
            assert process.wait(30) == 0
        finally:
            process.kill()
    if program == "up":
        # It has released the folder.
        with running("up", *arguments["up"], env=env, folder=tmp_path) as again:
            again.wait_for("Ctrl-C stops it.")
    assert not list(tmp_path.glob("afpools-manager-*"))


@pytest.mark.parametrize("program", ["up", "manager"])
def test_with_nohup_it_outlives_its_terminal(config, tmp_path, program):
    arguments = {
        "up": ("--state", tmp_path / "state", "--curve-port", 0, "--tls-port", 0),
        "manager": ("--profile", config.parent / "certs" / "profiles" / "reader", "--no-browser", "--port", 0),
    }
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running(program, *arguments[program], env=environment(tmp_path), folder=tmp_path) as started:
            started.wait_for("Ctrl-C stops it.")
            started.process.send_signal(signal.SIGHUP)
            if program == "up":
                reader = tmp_path / "state" / "certs" / "profiles" / "reader"
                assert run("pool", "list", "--profile", reader, env=environment(tmp_path)).status == 0
            assert started.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
