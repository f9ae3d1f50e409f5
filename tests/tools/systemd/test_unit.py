"""The unit: as systemd's own program checks it, and as `afpools init --systemd` installs it."""

from __future__ import annotations

import configparser
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Result

from afpools_broker.config import load
from afpools_tools.credentials.authority import Authority
from afpools_tools.systemd import unit as systemd
from afpools_tools.systemd.unit import Service, SystemdError

Afpools = Callable[..., Result]

TEMPLATE = Path(systemd.__file__).with_name("afpools.service")


def analyze(*arguments: object) -> str:
    """What `systemd-analyze` says."""
    program = shutil.which("systemd-analyze")
    if program is None:
        why = "There is no systemd-analyze. On Debian and Ubuntu: apt install systemd."
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"SYSTEMD_PAGER": "", "LANG": "C"})
    return done.stdout + done.stderr


def lines(unit: str) -> dict[str, str]:
    """The settings of a unit's service that occur once."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read_string(unit)
    return dict(parser["Service"])


def test_the_unit_is_hardened() -> None:
    said = analyze("security", "--offline=yes", TEMPLATE)
    found = re.search(r"exposure level for afpools.service: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= 2.0, said


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "afpools.service"
    # The programs that it names must exist and be executable.
    unit.write_text(TEMPLATE.read_text().replace("/opt/afpools/bin/afpools", "/bin/true"))
    assert analyze("verify", "--man=no", unit) == ""


@pytest.fixture
def service(config: Path) -> Service:
    return Service(config, load(config, {}), Path("/opt/afpools/bin/afpools"))


def test_the_units_paths_are_replaced(service: Service) -> None:
    found = lines(service.unit())
    assert found["ExecStart"] == f"/opt/afpools/bin/afpools serve -c {service.config}"
    assert "LoadCredential" not in found
    assert found["ReadWritePaths"] == str(service.config.parent)  # its SQLite database is there
    assert service.name == "afpools.service"


def test_systemd_provides_the_database_password(config: Path) -> None:
    text = config.read_text().replace('uri = "sqlite:///pools.sqlite"', 'uri = "mongodb://anna@db/afpools"')
    config.write_text(text.replace("#password_file", "password_file"))
    found = lines(Service(config, load(config, {}), Path("/opt/afpools/bin/afpools")).unit())
    assert found["LoadCredential"] == f"store-password:{config.parent}/store-password"
    assert found["Environment"] == "AFPOOLS_STORE_PASSWORD_FILE=%d/store-password"
    assert "ReadWritePaths" not in found


def test_special_characters_in_a_path_are_escaped_for_systemd(service: Service, tmp_path: Path) -> None:
    odd = Service(tmp_path / "a%b$c.toml", service.settings, service.executable)
    assert lines(odd.unit())["ExecStart"].endswith("/a%%b$$c.toml")
    with pytest.raises(SystemdError, match="spaces"):
        Service(tmp_path / "a b.toml", service.settings, service.executable).unit()


@pytest.mark.parametrize("home", ["/home/anna", "/root"])
def test_files_that_the_service_could_not_see_are_refused(service: Service, home: str) -> None:
    with pytest.raises(SystemdError, match="home folder"):
        Service(service.config, service.settings, Path(home, "venv/bin/afpools")).refuse_homes()
    with pytest.raises(SystemdError, match="home folder"):
        Service(Path(home, "broker.toml"), service.settings, service.executable).refuse_homes()


# --- installing -----------------------------------------------------------------------------------------------------


class System:
    """A system whose commands are recorded instead of run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[str] = []

    def boot(self) -> None:
        (self.root / "run/systemd/system").mkdir(parents=True)

    def run(self, command: object) -> None:
        assert isinstance(command, list)
        self.ran.append(" ".join(command))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    made = System(tmp_path / "system")
    monkeypatch.setattr(systemd, "USER", pwd.getpwuid(os.getuid()).pw_name)
    monkeypatch.setattr(systemd, "need_root", lambda: None)
    return made


def test_it_is_started_at_once_if_systemd_runs(service: Service, system: System) -> None:
    system.boot()
    assert systemd.install(service, system.run, system.root) == []
    assert system.ran == [
        "systemd-sysusers /etc/sysusers.d/afpools.conf",
        "systemctl daemon-reload",
        "systemctl enable --now afpools.service",
    ]
    assert (system.root / "etc/systemd/system/afpools.service").read_text() == service.unit()
    assert "/var/lib/afpools" in (system.root / "etc/sysusers.d/afpools.conf").read_text()
    # The same again, after an update.
    assert systemd.install(service, system.run, system.root) == []


def test_if_systemd_does_not_run_the_command_is_named(service: Service, system: System) -> None:
    assert systemd.install(service, system.run, system.root) == ["systemctl enable --now afpools.service"]


def test_the_authoritys_key_stays_with_root(service: Service, system: System) -> None:
    systemd.install(service, system.run, system.root)
    certs = service.config.parent / "certs"
    own, public = service.readable()
    assert certs / "ca/ca-key.pem" not in own + public
    assert not [path for path in own + public if "profiles" in path.parts]

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert {mode(path) for path in public if path.is_dir()} == {0o755}
    assert {mode(path) for path in public if path.is_file()} == {0o644}
    assert {mode(certs / "ca/ca-key.pem"), mode(certs / "brokers/broker.pem"), mode(service.config)} == {0o600}
    assert {
        certs / "ca/ca.pem",
        certs / "ca/crl.pem",
        certs / "clients/reader.pem",
        certs / "clients/reader.key",
    } <= set(public)


@pytest.mark.skipif(os.getuid() != 0, reason="Only root can give files away.")
def test_a_key_that_root_renews_still_belongs_to_the_broker(service: Service) -> None:
    pem = service.config.parent / "certs/brokers/broker.pem"
    nobody = pwd.getpwnam("nobody")
    shutil.chown(pem, nobody.pw_uid, nobody.pw_gid)
    before = pem.read_bytes()
    Authority.open(service.config.parent / "certs").renew("broker")
    assert pem.read_bytes() != before
    assert (pem.stat().st_uid, stat.S_IMODE(pem.stat().st_mode)) == (nobody.pw_uid, 0o600)


def test_a_failing_system_command_is_quoted() -> None:
    with pytest.raises(SystemdError, match=r"`/bin/sh -c echo no; exit 1` failed: no"):
        systemd.run_command(["/bin/sh", "-c", "echo no; exit 1"])
    with pytest.raises(SystemdError, match="cannot be run"):
        systemd.run_command(["/nowhere/systemctl"])


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def init(afpools: Afpools, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Afpools:
    install = systemd.install
    monkeypatch.setattr(systemd, "STATE", tmp_path / "state")
    monkeypatch.setattr(systemd, "install", lambda service, run: install(service, system.run, system.root))

    def run(*arguments: object, **options: str) -> Result:
        return afpools(
            "init", tmp_path / "etc afpools".replace(" ", "-"), "--systemd", "--no-checks", *arguments, **options
        )

    return run


def test_a_new_broker_keeps_its_pools_in_its_state_folder(init: Afpools, system: System, tmp_path: Path) -> None:
    done = init("--yes", "--reachable-as", "pools.studio.lan")
    assert done.status == 0, done.err
    settings = load(tmp_path / "etc-afpools/broker.toml", {})
    assert settings.store.uri == f"sqlite:///{tmp_path}/state/pools.sqlite"
    assert "afpools serve -c" not in done.out
    assert "systemctl enable --now afpools.service" in done.out
    unit = (system.root / "etc/systemd/system/afpools.service").read_text()
    assert "ReadWritePaths" not in lines(unit)
    # Root was asked whether it works.
    service = Service(tmp_path / "etc-afpools/broker.toml", settings, Path("/opt/afpools/bin/afpools"))
    (tmp_path / "state/pools.sqlite").touch()
    assert {tmp_path / "state", tmp_path / "state/pools.sqlite"} <= set(service.readable()[0])


def test_an_existing_broker_gets_its_service(init: Afpools, system: System, config: Path) -> None:
    init("--yes", "--name", "second")
    (system.root / "etc/systemd/system/afpools-second.service").unlink()
    refused = init(given="n\n")
    assert refused.status == 1
    assert not (system.root / "etc/systemd/system/afpools-second.service").exists()
    system.boot()
    done = init(given="y\n")
    assert (done.status, "journalctl -u afpools-second.service" in done.out) == (0, True)


def test_a_user_other_than_root_is_told_before_any_question(afpools: Afpools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = afpools("init", "etc", "--systemd")
    assert (refused.status, "Only root" in refused.err) == (1, True)
