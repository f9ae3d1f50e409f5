"""`afpools up` as a newcomer meets it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import AFPOOLS, Result, environment, run, running, terminal

from afpools_tools.setup import make_state

heavy = pytest.mark.heavy
ANY_PORTS = ("--curve-port", 0, "--tls-port", 0)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state folder"


@pytest.fixture
def selftest(tmp_path: Path, state: Path) -> Callable[..., Result]:
    def selftest(*arguments: object, **variables: str) -> Result:
        return run("up", "--selftest", "--state", state, *arguments, env=environment(tmp_path, **variables))

    return selftest


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- the first look -------------------------------------------------------------------------------------------------


@heavy
def test_the_printed_commands_work_in_a_second_terminal(tmp_path, state):
    env = environment(tmp_path, PATH=f"{AFPOOLS.parent}:{os.environ['PATH']}")
    with terminal("up", "--state", state, *ANY_PORTS, env=env) as first:
        first.wait_for("Try in a second terminal:")
        printed = [line.strip() for line in first.wait_for("Ctrl-C stops it.").splitlines() if line.startswith("  ")]
        assert [line.split()[0] for line in printed] == ["export", *["afpools"] * 4]
        for number, expected in ((1, "fx "), (2, "pc-02|pc-04|pc-05\n"), (3, "healthy")):
            script = f"{printed[0]}; {printed[number]}"
            second = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, timeout=30)
            assert second.returncode == 0, second.stderr
            assert expected in second.stdout
        script = f"{printed[0]}; exec {printed[4]} --no-browser"
        with subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.PIPE, text=True) as manager:
            assert manager.stdout is not None
            try:
                # It is not predictable which of this machine's addresses it uses.
                assert any("http://127." in line for line in manager.stdout)
            finally:
                manager.terminate()


@heavy
def test_a_program_outside_the_path_is_named_as_it_was_typed(tmp_path, state):
    env = environment(tmp_path, PATH="/usr/bin:/bin")
    with terminal("up", "--state", state, *ANY_PORTS, env=env) as first:
        assert f"{shlex.quote(str(AFPOOLS))} mask fx" in first.wait_for("Ctrl-C stops it.")


@heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_it_with_exit_status_0(tmp_path, state, number):
    with running("up", "--state", state, *ANY_PORTS, env=environment(tmp_path), folder=tmp_path) as broker:
        broker.wait_for("Ctrl-C stops it.")
        status = broker.stop(number)
    assert (status, "Traceback" in broker.err) == (0, False)


@heavy
def test_a_second_one_with_the_same_folder_is_refused_in_one_line(tmp_path, state):
    env = environment(tmp_path)
    with running("up", "--state", state, *ANY_PORTS, env=env, folder=tmp_path) as broker:
        broker.wait_for("Ctrl-C stops it.")
        second = run("up", "--state", state, *ANY_PORTS, env=env)
        assert second.status == 1
        assert second.err == (
            f"afpools: A broker is running with {state} already. Use that one, stop it, or name another --state "
            "folder and other ports.\n"
        )
        # But the self-test may look at a state that somebody works with.
        assert run("up", "--state", state, "--selftest", env=env).status == 0
        profile = state / "certs" / "profiles" / "reader"
        assert run("pool", "list", "--profile", profile, env=env).status == 0


@heavy
def test_a_port_in_use_names_the_way_out(tmp_path, state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("up", "--state", state, "--curve-port", 0, "--tls-port", port, env=environment(tmp_path))
    assert done.status == 1
    assert f"port {port}: the port is in use" in done.err
    assert "--tls-port 0" in done.err
    assert done.err.count("\n") == 1


@heavy
def test_pools_stay_from_one_time_to_the_next_and_examples_do_not_come_back(tmp_path, state):
    env = environment(tmp_path)
    profile = ("--profile", state / "certs" / "profiles" / "manager")
    with running("up", "--state", state, *ANY_PORTS, env=env, folder=tmp_path) as broker:
        broker.wait_for("Ctrl-C stops it.")
        for name in ("fx", "night"):
            assert run("pool", "delete", name, "-y", *profile, env=env).status == 0
        broker.stop()
    with running("up", "--state", state, env=env, folder=tmp_path) as broker:
        broker.wait_for("Ctrl-C stops it.")
        assert "pool create fx 'pc-[01-40]'" in broker.out
        run("pool", "create", "my pool", "pc-1", *profile, env=env)
        broker.stop()
    with running("up", "--state", state, env=env, folder=tmp_path) as broker:
        broker.wait_for("Ctrl-C stops it.")
        assert "mask 'my pool'" in broker.out


# --- the self-test --------------------------------------------------------------------------------------------------


@heavy
def test_the_selftest_asks_over_both_transports(selftest):
    done = selftest()
    assert done.status == 0
    assert done.out.splitlines() == [
        "TLS: pools: fx (2), night (5)",
        "TLS: mask of fx: pc-02|pc-04|pc-05",
        "CURVE: pools: fx (2), night (5)",
        "CURVE: mask of fx: pc-02|pc-04|pc-05",
        "The self-test passed.",
    ]
    assert done.err == ""


@heavy
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda state: (state / "broker.toml").write_text("rubbish"), "broker.toml: cannot be read as TOML"),
        (lambda state: (state / "certs" / "brokers" / "broker.key_secret").unlink(), "broker.key_secret"),
        (lambda state: (state / "certs" / "ca" / "ca.pem").write_text("rubbish"), "ca.pem"),
    ],
)
def test_a_broken_folder_is_one_line_and_exit_status_1(selftest, state, damage, said):
    make_state(state)
    damage(state)
    done = selftest()
    assert done.status == 1
    assert done.err.startswith("afpools: ")
    assert done.err.count("\n") == 1
    assert said in done.err


@heavy
def test_a_database_that_cannot_be_read_fails_the_selftest(selftest, state):
    make_state(state)
    (state / "pools.sqlite").write_text("this is no database at all, and never was one" * 100)
    done = selftest()
    assert done.status == 1
    assert "not an SQLite database" in done.err
    assert "Traceback" not in done.err


@heavy
def test_an_invalid_farm_is_refused_and_nothing_is_written(selftest, state):
    done = selftest("--farm", "a b")
    assert done.status == 1
    assert "'a b' is not a server" in done.err
    assert not (state / "broker.toml").exists()


@heavy
def test_a_file_in_place_of_the_folder_is_a_usage_error(selftest, state):
    state.write_text("")
    assert selftest().status == 2


# --- the folder -----------------------------------------------------------------------------------------------------


@heavy
def test_options_given_later_apply_to_that_run(tmp_path, state):
    make_state(state)
    before = (state / "broker.toml").read_text()
    arguments = ("--farm", "127.0.0.1:1", *ANY_PORTS)
    with running("up", "--state", state, *arguments, env=environment(tmp_path), folder=tmp_path) as broker:
        broker.wait_for("Ctrl-C stops it.")
        health = run("health", "--json", "--profile", state / "certs/profiles/reader", env=environment(tmp_path))
        assert json.loads(health.out)["farm"]["server"] == "127.0.0.1:1"
    assert (state / "broker.toml").read_text() == before
