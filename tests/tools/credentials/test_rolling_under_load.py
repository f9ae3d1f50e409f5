"""From one authority to the next on two real brokers with copies of the folder, while clients ask without a pause."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.studio import Studio, studio

from afpools import AfpoolsError, Client, Profile
from afpools_broker.protocol import Role
from afpools_tools.credentials import succession
from afpools_tools.credentials.asking import ask_brokers
from afpools_tools.credentials.authority import Authority

BROKERS, CLIENTS = ("east", "west"), ("anna", "bert")


def copy(source: Path, target: Path) -> None:
    """Copies a file or a folder as rsync does: nobody sees half of a file."""
    if source.is_dir():
        for path in source.iterdir():
            copy(path, target / path.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target.with_name(f".{target.name}.copy"))
    target.with_name(f".{target.name}.copy").replace(target)


class Load:
    """Threads that ask one endpoint each: some connect for each request, some keep their connection."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, profile: Profile, *, keeps: bool) -> None:
        (endpoint,) = profile.endpoints
        name = f"{profile.name} {endpoint.scheme} {endpoint.broker} {'keeps' if keeps else 'connects'}"
        self._threads.append(threading.Thread(target=self._ask, args=(name, profile, keeps)))
        self._threads[-1].start()

    def _ask(self, name: str, profile: Profile, keeps: bool) -> None:
        with Client(profile, timeout=30) as client:
            while not self._stop.wait(0.02):
                try:
                    client.hello()
                    self.asked[name] += 1
                except AfpoolsError as error:
                    self.failed.append(f"{name}: {error}")
                if not keeps:
                    client.close()

    def goes_on(self) -> None:
        """Waits until everybody has asked three times more."""
        before = self.asked.copy()
        until(lambda: all(self.asked[name] >= before[name] + 3 for name in before))
        assert self.failed == []

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Place:
    """A folder of credentials, two brokers, two workstations, and the load."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder, self.load = folder, Load()
        made = Authority.create(folder / "certs")
        for number, name in enumerate(BROKERS):
            made.issue_broker(name, ["127.0.0.1"], tls_port=5571 + 10 * number, curve_port=5570 + 10 * number)
        for name in BROKERS:
            for file in ("ca/crl.pem", "ca/ca.pem", "clients", "brokers"):
                copy(folder / "certs" / file, folder / name / "certs" / file)
            (folder / name / "certs/clients").mkdir(exist_ok=True)
        self.brokers: dict[str, Studio] = {
            name: running.enter_context(studio(folder / name, broker={"name": name})) for name in BROKERS
        }
        for number, (name, broker) in enumerate(self.brokers.items()):
            path = made.broker_paths(name)[1]
            text = path.read_text().replace(f'"{5571 + 10 * number}"', f'"{broker.tls_port}"')
            path.write_text(text.replace(f'"{5570 + 10 * number}"', f'"{broker.curve_port}"'))
        for name in CLIENTS:
            made.issue_profile(name, Role.READER)
            self.carry(name)
        for name in BROKERS:
            self.copy(name, "clients")
        for name in CLIENTS:
            profile = Profile.load(str(folder / "stations" / name))
            for endpoint in profile.endpoints:
                for keeps in (True, False):
                    self.load.add(profile._replace(endpoints=(endpoint,)), keeps=keeps)
        running.callback(self.load.stop)
        until(lambda: len(self.load.asked) == 16)

    @property
    def authority(self) -> Authority:
        return Authority.open(self.folder / "certs")

    def carry(self, client: str) -> None:
        copy(self.folder / "certs/profiles" / client, self.folder / "stations" / client)

    def copy(self, broker: str, *files: str) -> None:
        """Copies files to a broker, which then reads them at once."""
        for file in files:
            copy(self.folder / "certs" / file, self.folder / broker / "certs" / file)
        self.brokers[broker].broker.reload()
        self.load.goes_on()

    def roll(self) -> succession.Rolled:
        rolled = succession.roll(self.authority, ask_brokers)
        self.load.goes_on()
        return rolled


@contextmanager
def office(folder: Path) -> Iterator[Place]:
    with ExitStack() as running:
        yield Place(folder, running)


@pytest.mark.heavy
def test_no_connection_is_refused_at_any_step_over_tls_or_curve(tmp_path):
    trusted = ("ca/crl.pem", "ca/ca.pem")
    with office(tmp_path) as place:
        old = place.authority.signer
        new = succession.begin(place.authority).successor
        place.load.goes_on()
        assert place.roll().waiting.keys() == set(BROKERS)
        place.copy("east", *trusted)
        assert place.roll().waiting.keys() == {"west"}
        place.copy("west", *trusted)
        assert place.roll().step == "clients"
        assert place.authority.signer == new
        place.carry("anna")
        place.load.goes_on()
        assert "anna" not in place.roll().waiting
        place.carry("bert")
        place.load.goes_on()
        assert place.roll().step == "brokers"
        place.copy("west", "clients", "brokers")
        assert place.roll().waiting.keys() == {"east"}
        place.copy("east", "clients", "brokers")
        assert place.roll() == succession.Rolled("retire", {})
        assert succession.retire(place.authority, ask=ask_brokers) == [old]
        place.load.goes_on()
        for name in reversed(BROKERS):
            place.copy(name, *reversed(trusted))
        for name in CLIENTS:
            place.carry(name)
        place.load.goes_on()
        for broker in place.brokers.values():
            assert broker.broker.credentials.trusted()[0].id == new.id.hex()
        profile = Profile.load(str(tmp_path / "stations/anna"))
        for endpoint in profile.endpoints:
            with Client(profile._replace(endpoints=(endpoint,))) as client:
                assert client.health()["refused_connections"] == 0
        assert place.load.failed == []
