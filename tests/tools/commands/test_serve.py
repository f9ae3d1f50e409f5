"""`afpools serve` as systemd starts and stops it."""

from __future__ import annotations

import signal
import stat
import threading
from pathlib import Path

import pytest
from tests.command import Running, environment, run, running
from tests.studio import settings

from afpools import Client, Profile
from afpools_broker import broker
from afpools_tools.credentials.authority import Authority

pytestmark = pytest.mark.heavy

SECRETS = {"database": "pa55/word@db", "authority": "correct horse battery"}


def port(broker: Running, listener: str) -> int:
    broker.wait_for(" serves; store: ")
    return next(int(line.rsplit(" ", 1)[1]) for line in broker.err.splitlines() if f" {listener}: listening" in line)


def client(config: Path, broker: Running) -> Client:
    profile = Profile.load(str(config.parent / "certs" / "profiles" / "manager"))
    endpoint = profile.endpoints[0]._replace(url=f"tls://127.0.0.1:{port(broker, 'TLS')}")
    return Client(profile._replace(endpoints=(endpoint,)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_exit_status_0(config, tmp_path, number):
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
        with client(config, broker) as connected:
            connected.hello()
            status = broker.stop(number)
        assert status == 0
        assert "Traceback" not in broker.err
        assert broker.err.splitlines()[-1].endswith("Broker 'broker' stopped")


def test_acknowledged_changes_survive_a_restart(config, tmp_path):
    for expected in (0, 1):
        with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
            with client(config, broker) as connected:
                assert len(connected.list_pools().pools) == expected
                if not expected:
                    connected.create_pool("fx", ["pc-[01-05]"])
            broker.stop()


def test_a_signal_while_it_starts_stops_it_too(config, tmp_path):
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
        broker.wait_for("listening")
        status = broker.stop()
        assert (status, "Traceback" in broker.err) == (0, False)


def test_variables_override_the_file(config, tmp_path):
    env = environment(tmp_path, AFPOOLS_BROKER_NAME="broker", AFPOOLS_CURVE_ENABLED="false")
    with running("serve", "-c", config, env=env, folder=tmp_path) as broker:
        broker.wait_for(" serves; store: ")
        assert "CURVE: listening" not in broker.err


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.unlink(), "there is no such file. `afpools init` writes one."),
        (lambda file: file.write_text("rubbish"), "cannot be read as TOML"),
        (lambda file: file.write_text(file.read_text().replace("[tls]", "[tsl]")), "no section or key 'tsl'"),
        (lambda file: file.write_text(file.read_text().replace("port = 0", "prt = 0")), "no key 'prt'"),
        (lambda file: (file.parent / "certs" / "brokers" / "broker.pem").unlink(), "broker.pem"),
    ],
)
def test_every_error_is_one_line(config, tmp_path, damage, said):
    damage(config)
    done = run("serve", "-c", config, env=environment(tmp_path))
    assert done.status == 1
    assert done.err.startswith("afpools: ")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_without_an_argument_it_looks_for_broker_toml_here(tmp_path):
    done = run("serve", env=environment(tmp_path), cwd=tmp_path)
    assert done.err == "afpools: broker.toml: there is no such file. `afpools init` writes one.\n"


def test_a_port_in_use_is_one_line(config, tmp_path):
    with running("serve", "-c", config, env=environment(tmp_path), folder=tmp_path) as broker:
        taken = port(broker, "TLS")
        done = run("serve", "-c", config, env=environment(tmp_path, AFPOOLS_TLS_PORT=str(taken)))
    assert done.status == 1
    assert f"port {taken}: the port is in use" in done.err
    assert "Traceback" not in done.err


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_secret_is_in_a_log_line_or_on_a_command_line(tmp_path):
    password = tmp_path / "password"
    password.write_text(SECRETS["database"] + "\n")
    password.chmod(0o600)
    env = environment(tmp_path, AFPOOLS_CA_PASSPHRASE=SECRETS["authority"])
    address = ("--address", "127.0.0.1", "--curve-port", 1024, "--tls-port", 1025)
    store = ("--store", "mongodb://anna@127.0.0.1:1/afpools", "--password-file", password)
    done = run("init", tmp_path / "etc", "--yes", "--no-checks", *address, *store, env=env)
    assert done.status == 0, done.err
    said = [done.out, done.err, run("init", tmp_path / "etc2", "--yes", *store, env=env).err]
    env = environment(
        tmp_path, AFPOOLS_CURVE_PORT="0", AFPOOLS_TLS_PORT="0", AFPOOLS_BROKER_LOG_LEVEL="debug", **passphrase(env)
    )
    with running("serve", "-c", tmp_path / "etc" / "broker.toml", env=env, folder=tmp_path) as broker:
        broker.wait_for(" serves; store: ")
        broker.wait_for("does not answer")
        said.append(Path(f"/proc/{broker.process.pid}/cmdline").read_text())
        broker.stop()
        said += [broker.out, broker.err]
    assert "does not answer" in broker.err
    for secret in (*SECRETS.values(), "pa55", "pa55%2Fword%40db"):
        assert not [text for text in said if secret in text]
    for secret in SECRETS.values():
        assert secret not in (tmp_path / "etc" / "broker.toml").read_text()


def passphrase(env: dict[str, str]) -> dict[str, str]:
    return {"AFPOOLS_CA_PASSPHRASE": env["AFPOOLS_CA_PASSPHRASE"]}


def test_files_with_secrets_are_for_their_owner_only(config, tmp_path):
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    secret = [
        path
        for path in config.parent.rglob("*")
        if path.is_file() and (b"PRIVATE KEY" in path.read_bytes() or b"secret-key" in path.read_bytes())
    ]
    assert {path.name for path in secret} == {
        "ca-key.pem",
        "broker.pem",
        "broker.key_secret",
        "client.pem",
        "client.key_secret",
    }
    assert {mode(path) for path in (*secret, config)} == {0o600}
    assert {mode(path) for path in (config.parent, *config.parent.rglob("*")) if path.is_dir()} == {0o700}


def test_a_signal_during_the_wait_for_an_unreachable_store_takes_effect_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(broker, "_FIRST_SNAPSHOT_SECONDS", float("inf"))
    authority = Authority.create(tmp_path / "certs")
    authority.issue_broker("broker", ["127.0.0.1"])
    waiting = broker.Broker(settings(tmp_path, {"store": {"uri": "mongodb://127.0.0.1:1/afpools"}}))
    started = threading.Thread(target=waiting.start)
    started.start()
    waiting.call_off()
    started.join(30)
    assert not started.is_alive()
    waiting.stop()
