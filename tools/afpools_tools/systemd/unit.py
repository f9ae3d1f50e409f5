"""A broker as a systemd service: the unit, its user, and who may read which file.

Strategy: `afpools.service` beside this file is a complete unit that can be read, checked and copied by hand; installing
it replaces the paths. The broker's user can read what the broker needs. The certificate authority's key stays root's,
and so does the database's password, of which systemd passes a copy to the service.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from afpools_broker.config import Config

from ..errors import ToolError
from ..written import PUBLIC, replacing

USER = "afpools"
STATE = Path("/var/lib/afpools")
_UNITS = Path("/etc/systemd/system")
_SYSUSERS = Path("/etc/sysusers.d/afpools.conf")
_TEMPLATE = Path(__file__).with_name("afpools.service")

# The paths in the template.
_EXECUTABLE, _CONFIG, _PASSWORD = "/opt/afpools/bin/afpools", "/etc/afpools/broker.toml", "/etc/afpools/store-password"
_PASSWORD_LINES = ("LoadCredential=", "Environment=AFPOOLS_STORE_PASSWORD_FILE=")


class SystemdError(ToolError):
    """The service cannot be installed. The message says why, and what to do."""


@dataclass(frozen=True)
class Service:
    """A broker for systemd to run.

    Args:
        config: its broker.toml.
        settings: the contents of broker.toml.
        executable: the path of `afpools`.
    """

    config: Path
    settings: Config
    executable: Path

    @property
    def name(self) -> str:
        """The unit's name: afpools.service, or one with the broker's name if that is not the default."""
        name = self.settings.broker.name
        return "afpools.service" if name == "broker" else f"afpools-{name}.service"

    @property
    def path(self) -> Path:
        """Where to install the unit."""
        return _UNITS / self.name

    def unit(self) -> str:
        """The unit's text."""
        text = _TEMPLATE.read_text(encoding="utf-8")
        if self.settings.store.password_file:
            for beginning in _PASSWORD_LINES:
                text = text.replace(f"\n#{beginning}", f"\n{beginning}")
            text = text.replace(_PASSWORD, _escaped(self.settings.path(self.settings.store.password_file)))
        database = self._sqlite_folder()
        if database is not None and not database.is_relative_to(STATE):
            text = text.replace("\n#ReadWritePaths=/etc/afpools", f"\nReadWritePaths={_escaped(database)}")
        return text.replace(_EXECUTABLE, _escaped(self.executable)).replace(_CONFIG, _escaped(self.config))

    def refuse_homes(self) -> None:
        """
        Raises:
            SystemdError: a file is where the service cannot see it.
        """
        for what, path in (("The program", self.executable), ("The configuration", self.config)):
            for home in ("/home", "/root", "/run/user"):
                if path.resolve().is_relative_to(home):
                    raise SystemdError(
                        f"{what} is in a home folder, {path}, which the service cannot see. Install Afanasy Pools into "
                        "/opt/afpools (python3 -m venv /opt/afpools), and set the broker up in /etc/afpools."
                    )

    def _sqlite_folder(self) -> Path | None:
        scheme, _, path = self.settings.store.uri.partition(":///")
        return self.settings.path(path).parent if scheme == "sqlite" else None

    # --- who may read what ----------------------------------------------------------------------------------------

    def readable(self) -> tuple[list[Path], list[Path]]:
        """The files and folders that belong to the broker's user, and those that everybody may read: public keys,
        certificates, lists of revoked certificates. Only root can read the rest."""
        certs = self.settings.path(self.settings.credentials.folder)
        name = self.settings.broker.name
        own = [self.config, certs / "brokers" / f"{name}.pem", certs / "brokers" / f"{name}.key_secret"]
        folders = [self.config.parent, certs, certs / "ca", certs / "brokers", certs / "clients"]
        public = [certs / "ca" / "ca.pem", certs / "ca" / "crl.pem", certs / "brokers" / f"{name}.key"]
        public += sorted((certs / "clients").glob("*.pem")) + sorted((certs / "clients").glob("*.key"))
        database = self._sqlite_folder()
        if database is not None and database.is_dir():
            # systemd gives the folder to the user, but not a database that was tried out before the user existed.
            own += [database, *sorted(database.glob("*.sqlite*"))]
        return own, [path for path in (*folders, *public) if path not in own]


def install(service: Service, run: Callable[[Sequence[str]], None], root: Path = Path("/")) -> list[str]:
    """Makes the user and the unit, and tells systemd to start the service now and at boot.

    Args:
        service: the broker to install.
        run: runs a system command.
        root: the root of the file system; for tests.

    Returns:
        The commands that the user still must run.

    Raises:
        SystemdError: the service would not see its files, or a system command fails.
        NotWritten: a file cannot be written.
    """
    service.refuse_homes()
    for path, text in (
        (_SYSUSERS, f'u {USER} - "Afanasy Pools broker" {STATE}\n'),
        (service.path, service.unit()),
    ):
        place = root / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place, PUBLIC, whatever_umask=True) as file:
            file.write(text.encode())
    run(["systemd-sysusers", str(_SYSUSERS)])
    own, public = service.readable()
    for path in public:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in own:
        shutil.chown(path, USER, USER)
    start = ["systemctl", "enable", "--now", service.name]
    if not (root / "run/systemd/system").is_dir():
        return [" ".join(start)]  # sd_booted(3): this machine was not booted with systemd, or not yet
    run(["systemctl", "daemon-reload"])
    run(start)
    return []


def run_command(command: Sequence[str]) -> None:
    """Runs a system command.

    Raises:
        SystemdError: it fails, or does not exist.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours, a list
    except OSError as error:
        raise SystemdError(f"{command[0]} cannot be run: {error.strerror}. This needs a Linux with systemd.") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise SystemdError(f"`{' '.join(command)}` failed: {said}")


def need_root() -> None:
    """
    Raises:
        SystemdError: this process does not run as root.
    """
    if os.geteuid() != 0:
        raise SystemdError("Only root can install a service. Run the same command with sudo.")


def _escaped(path: Path) -> str:
    """A path written for a unit file (systemd.syntax(7), systemd.unit(5), "Specifiers")."""
    text = str(path).replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    if any(character.isspace() for character in text) or '"' in text:
        raise SystemdError(f"{path}: a service's files cannot have spaces or quotes in their names. Move them.")
    return text
