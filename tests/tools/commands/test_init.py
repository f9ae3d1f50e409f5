"""`afpools init` as an operator uses it: with flags, and at a terminal."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.afserver import afserver
from tests.command import environment, terminal

from afpools_broker.broker import Broker
from afpools_broker.config import load
from afpools_tools.credentials.authority import Authority
from afpools_tools.network.addresses import own_names

HERE = ("--yes", "--address", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "etc"


@pytest.fixture
def init(afpools, folder):
    """`init` with flags alone. Its ports are not tried, because they may be in use on this machine."""

    def init(*arguments, checks=False):
        return afpools("init", folder, *HERE, *(() if checks else ("--no-checks",)), *arguments)

    return init


@pytest.fixture
def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(result) -> str:
    """The one line that says why."""
    assert result.status == 1
    assert result.err.startswith("afpools: ")
    assert result.err.count("\n") == 1
    return result.err


# --- with flags -----------------------------------------------------------------------------------------------------


def test_flags_make_everything_a_broker_needs(init, folder, free_ports):
    curve, tls = free_ports
    done = init("--curve-port", curve, "--tls-port", tls, "--connections", 50, checks=True)
    assert (done.status, done.err) == (0, "")
    assert f"afpools serve -c {folder}/broker.toml" in done.out
    settings = load(folder / "broker.toml", {})
    assert (settings.curve.port, settings.tls.port, settings.limits.connections) == (curve, tls, 50)
    with Broker(settings):
        pass
    profile = json.loads((folder / "certs" / "profiles" / "manager" / "profile.json").read_text())
    assert profile["endpoints"][0]["url"] == f"tls://127.0.0.1:{tls}"


def test_files_are_for_their_owner_only(init, folder):
    init()
    assert stat.S_IMODE((folder / "broker.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(("flags", "enabled"), [((), True), (("--live",), True), (("--no-live",), False)])
def test_running_jobs_follow_their_pools_unless_somebody_says_otherwise(init, folder, flags, enabled):
    assert init("--farm", "127.0.0.1:1", *flags).status == 0
    assert load(folder / "broker.toml", {}).live.enabled is enabled


def test_an_existing_broker_toml_is_kept(init, folder):
    init()
    before = (folder / "broker.toml").read_text()
    assert "exists already" in refused(init("--name", "other"))
    assert (folder / "broker.toml").read_text() == before


def test_force_replaces_the_file_and_never_a_key(init, folder):
    init("--tls-port", 1024)
    key = (folder / "certs" / "brokers" / "broker.pem").read_bytes()
    done = init("--force", "--tls-port", 1025)
    assert done.status == 0
    assert load(folder / "broker.toml", {}).tls.port == 1025
    assert (folder / "certs" / "brokers" / "broker.pem").read_bytes() == key
    # Profiles would still lead to the old port, so it says so, and how to fix it.
    assert "TLS port 1024" in done.err
    assert "afpools certs broker broker -a 127.0.0.1 -a localhost --tls-port 1025" in done.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--name", "a b"), "'a b' is not a valid name"),
        (("--address", "nonsense"), "'nonsense': expected an IP address"),
        (("--reachable-as", "tls://x:5"), "'tls://x:5' is neither a host's name"),
        (("--curve-port", 1024, "--tls-port", 1024), "cannot both use port 1024"),
        (("--store", "mysql://h/afpools"), "not the address of a database"),
        (("--store", "mongodb://anna:pa55word@h/afpools"), "has a password in it"),
        (("--store", "mongodb://anna@h/afpools"), "names the user 'anna': give --password-file"),
        (("--farm", "a b"), "'a b' is not a server"),
        (("--connections", 0), "connections = 0"),
        (("--message-bytes", 5), "message_bytes = 5"),
        (("--manager", ".x"), "--manager: '.x' is not a valid name"),
    ],
)
def test_a_wrong_flag_is_one_line_and_nothing_is_made(init, folder, flags, said):
    err = refused(init(*flags))
    assert said in err
    assert "pa55word" not in err
    assert not (folder / "broker.toml").exists()
    assert not (folder / "certs").exists()


def test_a_port_may_be_the_other_one_s_default(init, folder):
    assert init("--curve-port", 5571, "--tls-port", 5570).status == 0


def test_a_port_in_use_is_detected(init, free_ports, taken_port):
    err = refused(init("--tls-port", taken_port, "--curve-port", free_ports[0], checks=True))
    assert "in use" in err
    assert "--no-checks" in err


def test_an_unreachable_database_is_detected(init, free_ports):
    ports = ("--curve-port", free_ports[0], "--tls-port", free_ports[1])
    assert "does not answer" in refused(init(*ports, "--store", "mongodb://127.0.0.1:1/afpools", checks=True))
    assert init(*ports, "--store", "mongodb://127.0.0.1:1/afpools").status == 0


def test_afserver_is_asked_how_many_renders_it_has(init, free_ports):
    ports = ("--curve-port", free_ports[0], "--tls-port", free_ports[1])
    with afserver() as server:
        address = "{}:{}".format(*server.address)
        assert "afserver answers: " in init(*ports, "--farm", address, checks=True).out
    assert "cannot be reached" in refused(init("--force", *ports, "--farm", address, checks=True))


def test_a_password_file_that_others_can_read_is_pointed_out(init, folder, tmp_path):
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    done = init("--store", "mongodb://anna@h/afpools", "--password-file", file)
    assert done.status == 0
    assert f"chmod 600 {file}" in done.err
    assert load(folder / "broker.toml", {}).store.password_file == str(file)


def test_without_a_terminal_it_does_not_ask(afpools, folder):
    assert "Use --yes" in refused(afpools("init", folder))


# --- the authority that is there --------------------------------------------------------------------------------------


@pytest.fixture
def authority(folder: Path) -> Authority:
    return Authority.create(folder / "certs", passphrase="correct horse")


def test_an_existing_authority_signs_for_the_new_broker(init, folder, authority, monkeypatch):
    monkeypatch.setenv("AFPOOLS_CA_PASSPHRASE", "correct horse")
    assert init("--name", "second").status == 0
    assert (folder / "certs" / "brokers" / "second.pem").exists()
    assert Authority.open(folder / "certs").certificate == authority.certificate


@pytest.mark.parametrize(("given", "said"), [("", "has a passphrase"), ("wrong", "the passphrase is wrong")])
def test_without_its_passphrase_nothing_is_written(init, folder, authority, monkeypatch, given, said):
    monkeypatch.setenv("AFPOOLS_CA_PASSPHRASE", given)
    assert said in refused(init())
    assert not (folder / "broker.toml").exists()


def test_a_new_authority_s_key_is_encrypted_if_there_is_a_passphrase(init, folder, monkeypatch):
    monkeypatch.setenv("AFPOOLS_CA_PASSPHRASE", "correct horse")
    done = init()
    assert Authority.open(folder / "certs").needs_passphrase
    assert "correct horse" not in done.out + done.err


# --- at a terminal --------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_questions_are_asked_again_until_the_answers_are_right(tmp_path, folder, free_ports, taken_port):
    curve, tls = map(str, free_ports)
    with terminal("init", folder, env=environment(tmp_path), columns=200) as asked:
        asked.answer("Passphrase for the new certificate authority's key", "correct horse")
        asked.answer("Repeat for confirmation", "correct horse")
        asked.answer("This broker's name", "bad name!")
        assert "'bad name!' is not a valid name" in asked.answer("This broker's name", "one")
        asked.answer("Listen at", "nonsense")
        assert "expected an IP address" in asked.answer("Listen at", "127.0.0.1")
        asked.answer("clients will use", "127.0.0.1, broker.studio.lan")
        asked.answer("Port for CURVE", str(taken_port))
        assert "in use" in asked.answer("Keep it anyway?", "n")
        asked.answer("Port for CURVE", curve)
        asked.answer("Port for TLS", curve)
        assert f"cannot both use port {curve}" in asked.answer("Port for TLS", tls)
        asked.answer("Database", "mongodb://anna:pa55@127.0.0.1:1/afpools")
        assert "has a password in it" in asked.answer("Database", "mongodb://anna@127.0.0.1:1/afpools")
        asked.answer("Password of anna", "s3cret")
        assert "does not answer" in asked.answer("Keep it anyway?", "n")
        asked.answer("Database", "")
        asked.answer("afserver", "127.0.0.1:1")
        assert "cannot be reached" in asked.answer("Keep it anyway?", "y")
        asked.answer("already follow their pools? [Y/n]", "n")
        asked.answer("Other limits", "y")
        asked.answer("Message bytes", "5")
        assert "message_bytes = 5" in asked.answer("Message bytes", "8192")
        asked.answer("Connections", "")
        asked.answer("Requests per second", "")
        assert asked.finish() == 0
    assert "correct horse" not in asked.shown
    assert "s3cret" not in asked.shown
    settings = load(folder / "broker.toml", {})
    assert (settings.broker.name, settings.tls.port, settings.store.uri) == ("one", int(tls), "sqlite:///pools.sqlite")
    assert (settings.store.password_file, settings.farm.server) == ("", "127.0.0.1:1")
    assert not settings.live.enabled
    assert (settings.limits.message_bytes, settings.limits.connections) == (8192, 2000)
    assert Authority.open(folder / "certs").needs_passphrase


@pytest.mark.heavy
def test_a_typed_password_goes_into_a_file_for_its_owner_only(tmp_path, folder, free_ports):
    flags = ("--name", "one", "--address", "127.0.0.1", "--reachable-as", "127.0.0.1", "--farm", "")
    ports = ("--curve-port", free_ports[0], "--tls-port", free_ports[1])
    with terminal("init", folder, *flags, *ports, env=environment(tmp_path, AFPOOLS_CA_PASSPHRASE="x")) as asked:
        asked.answer("Database", "mongodb://anna@127.0.0.1:1/afpools")
        asked.answer("Password of anna", "s3cret")
        asked.answer("Keep it anyway?", "y")
        asked.answer("Other limits", "n")
        assert asked.finish() == 0
    file = folder / "store-password"
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("s3cret\n", 0o600)
    assert load(folder / "broker.toml", {}).store.password_file == "store-password"
    assert "s3cret" not in (folder / "broker.toml").read_text()


@pytest.mark.heavy
def test_ctrl_c_leaves_no_broker_toml(tmp_path, folder):
    with terminal("init", folder, env=environment(tmp_path)) as asked:
        asked.wait_for("Passphrase for the new")
        asked.process.send_signal(2)
        assert asked.finish() != 0
    assert "Traceback" not in asked.shown
    assert not (folder / "broker.toml").exists()


def test_an_invalid_name_is_refused_before_anything_is_made(init, folder):
    assert "--reachable-as: 'a..b' is neither a host's name nor an IP address" in refused(
        init("--reachable-as", "a..b")
    )
    assert not folder.exists()


def test_profiles_of_a_broker_for_others_do_not_lead_to_localhost(afpools, folder, monkeypatch):
    done = afpools("init", folder, "--yes", "--no-checks", "--address", "0.0.0.0")
    first = json.loads((folder / "certs" / "profiles" / "manager" / "profile.json").read_text())["endpoints"][0]["url"]
    # If the machine has only loopback addresses, it says so.
    assert ("localhost" in first) == ("Profiles will lead to localhost" in done.err)
    assert ("localhost" in first) == (own_names()[0] == "localhost")


def test_a_profile_that_only_this_machine_can_use_is_announced_as_such(afpools, folder):
    done = afpools("init", folder, "--yes", "--no-checks", "--address", "0.0.0.0", "--reachable-as", "localhost")
    assert "Profiles will lead to localhost, which is this machine for itself and no other." in done.err
    made = afpools("certs", "profile", "anna", "--role", "reader", "--dir", folder / "certs")
    assert "The profile leads to tls://localhost:5571 first" in made.err
    assert "afpools certs broker broker -a HOST --force" in made.err
