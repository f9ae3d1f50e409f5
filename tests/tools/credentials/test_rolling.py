"""From one authority to the next, with brokers and workstations that get their files whenever somebody copies them.

Real credentials, real handshakes in memory; only the network and the clock are the test's.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.handshake import client_context, shake_hands

from afpools_broker.credentials.authorities import parse_issuers
from afpools_broker.credentials.live import Credentials
from afpools_broker.credentials.peers import utcnow
from afpools_broker.protocol import Role
from afpools_tools import written
from afpools_tools.credentials import inspection, succession
from afpools_tools.credentials.asking import Answer, read_report
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.files import AuthorityError

BROKERS, CLIENTS = ("east", "west"), ("anna", "bert")
FILES = ("ca/crl.pem", "ca/ca.pem", "clients", "brokers")


class Office:
    """The folder of credentials, and two brokers and two workstations with copies of it.

    The clock begins two months ago: OpenSSL goes by the system's, and certificates must have begun.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ahead = -dt.timedelta(days=60)
        self.unreachable: set[str] = set()
        made = Authority.create(folder / "certs", clock=self.clock)
        for number, name in enumerate(BROKERS):
            made.issue_broker(name, ["localhost"], tls_port=5571 + 10 * number, curve_port=5570 + 10 * number)
        for name in CLIENTS:
            made.issue_profile(name, Role.READER)
            self.carry(name)
        self.brokers: dict[str, Credentials] = {}
        for name in BROKERS:
            for file in FILES:
                self.copy(name, file)
            place = folder / name
            self.brokers[name] = Credentials(
                ca=place / "ca/ca.pem",
                crl=place / "ca/crl.pem",
                clients=place / "clients",
                certificate=place / f"brokers/{name}.pem",
                curve_secret=place / f"brokers/{name}.key_secret",
                clock=self.clock,
            )

    def clock(self) -> dt.datetime:
        return utcnow() + self._ahead

    def wait(self, hours: float = 6) -> None:
        self._ahead += dt.timedelta(hours=hours)

    @property
    def authority(self) -> Authority:
        return Authority.open(self._folder / "certs", clock=self.clock)

    def copy(self, broker: str, file: str) -> None:
        source, target = self._folder / "certs" / file, self._folder / broker / file
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)

    def carry(self, client: str) -> None:
        source = self._folder / "certs" / "profiles" / client
        shutil.copytree(source, self._folder / "stations" / client, dirs_exist_ok=True)

    def ask(self, _: Authority) -> Mapping[str, Answer]:
        return {
            name: Answer("connection refused")
            if name in self.unreachable
            else read_report({"authorities": msgspec.to_builtins(credentials.trusted())})
            for name, credentials in self.brokers.items()
        }

    def everybody_connects(self, clients: tuple[str, ...] = CLIENTS) -> None:
        for credentials in self.brokers.values():
            credentials.refresh()
            for name in clients:
                station = self._folder / "stations" / name
                context = client_context(station / "ca.pem", station / "client.pem")
                server, _ = shake_hands(credentials.server_context(), context)
                peer = credentials.tls_peer(server.getpeercert(binary_form=True))
                assert peer.peer.name == name
                credentials.note_seen(peer)

    def roll(self, *done: str) -> succession.Rolled:
        return succession.roll(self.authority, self.ask, done=done)

    def act(self, action: str) -> None:
        what, _, name = action.partition(" ")
        if what == "next":
            succession.begin(self.authority)
        elif what == "roll":
            self.roll()
        elif what == "retire":
            succession.retire(self.authority, ask=self.ask)
        elif what == "wait":
            self.wait()
        elif what == "step":
            self.act("next" if len(self.authority.issuers) == 1 else "roll")
        elif what == "everything":
            for file in FILES:
                self.copy(name, file)
        elif what == "carry":
            self.carry(name)
        else:
            self.copy(name, what)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def copy_to(office: Office, *names: str) -> None:
    for name in names:
        for file in FILES:
            office.copy(name, file)
    office.everybody_connects()


def carry_to(office: Office, *names: str) -> None:
    for name in names:
        office.carry(name)
    office.everybody_connects()


def test_each_step_names_what_it_waits_for(office):
    old = office.authority.signer
    office.everybody_connects()
    new = succession.begin(office.authority).successor
    assert office.authority.signer == old
    assert office.roll().step == "trust"
    copy_to(office, "east")
    assert office.roll() == succession.Rolled("trust", {"west": "it does not trust the next authority"})
    office.wait()
    assert office.authority.signer == old
    with pytest.raises(AuthorityError, match=r"has not signed anything yet\. Run `afpools certs roll` first"):
        succession.retire(office.authority, ask=office.ask)

    copy_to(office, "west")
    rolled = office.roll()
    assert office.authority.signer == new
    assert (rolled.step, rolled.renewed) == ("clients", CLIENTS)
    assert rolled.waiting == dict.fromkeys(CLIENTS, "no broker has seen its new certificate")
    carry_to(office, "anna")
    assert office.roll().waiting.keys() == {"bert"}
    assert office.authority.renew("west").exists()  # by the old authority, as bert knows no other
    copy_to(office, "west")
    with pytest.raises(AuthorityError, match=r"These have certificates that .* issued: east, west"):
        succession.retire(office.authority, ask=office.ask)

    office.wait()
    carry_to(office, "bert")
    rolled = office.roll()
    assert (rolled.step, rolled.renewed) == ("brokers", BROKERS)
    copy_to(office, "west")
    assert office.roll().waiting == {"east": "it still shows a certificate of the old authority"}
    with pytest.raises(AuthorityError, match=r"These still depend on .*: east \(it still shows"):
        succession.retire(office.authority, ask=office.ask)
    copy_to(office, "east")
    assert office.roll() == succession.Rolled("retire", {})
    assert succession.retire(office.authority, ask=office.ask) == [old]
    copy_to(office, "west")
    office.wait()
    copy_to(office, "east")
    carry_to(office, *CLIENTS)
    assert parse_issuers((office._folder / "stations/anna/ca.pem").read_bytes()) == (new,)


def test_a_broker_that_cannot_be_asked_is_named_and_may_be_taken_on_the_operators_word(office):
    succession.begin(office.authority)
    copy_to(office, *BROKERS)
    office.unreachable = {"west"}
    assert office.roll().waiting == {"west": "it cannot be asked: connection refused"}
    assert office.roll("east").waiting.keys() == {"west"}
    assert office.roll("w*").step == "clients"


def test_what_a_broker_says_counts_for_more_than_the_operators_word(office):
    succession.begin(office.authority)
    copy_to(office, "east")
    assert office.roll("*").waiting == {"west": "it does not trust the next authority"}


def test_a_client_that_is_never_seen_may_be_taken_on_the_operators_word_and_is_believed_until_it_is_seen(office):
    office.everybody_connects()
    succession.begin(office.authority)
    copy_to(office, *BROKERS)
    assert office.roll("*").step == "clients"  # the word was about brokers
    office.carry("anna")
    office.everybody_connects(("anna",))
    assert office.roll("be*").step == "brokers"
    office.everybody_connects(("bert",))
    assert "its old certificate was used on" in office.roll().waiting["bert"]
    carry_to(office, "bert")
    assert office.roll().step == "brokers"


def test_a_profile_on_two_workstations_counts_as_carried_once_the_old_one_is_quiet(office, tmp_path):
    succession.begin(office.authority)
    copy_to(office, *BROKERS)
    office.roll()
    shutil.copytree(tmp_path / "stations", tmp_path / "others")
    carry_to(office, *CLIENTS)
    shutil.copytree(tmp_path / "others/bert", tmp_path / "stations/bert", dirs_exist_ok=True)
    office.everybody_connects()
    office.carry("bert")
    office.everybody_connects()
    assert "its old certificate was used on" in office.roll().waiting["bert"]
    office.wait(2)
    office.everybody_connects()
    assert office.roll().step == "brokers"


def test_what_is_known_survives_a_restart_of_the_brokers(office):
    succession.begin(office.authority)
    copy_to(office, *BROKERS)
    office.roll()
    carry_to(office, "anna")
    assert office.roll().waiting.keys() == {"bert"}
    for credentials in office.brokers.values():
        credentials._seen.clear()
    assert office.roll().waiting.keys() == {"bert"}


def test_retiring_by_force_needs_no_answers(office):
    old = office.authority.signer
    succession.begin(office.authority)
    assert succession.retire(office.authority, force=True) == [old]
    assert office.authority.issuers == (office.authority.signer,)
    assert office.authority.signer != old


# --- interrupted anywhere, in any order -----------------------------------------------------------------------------

STEPS = ("next", "roll", "retire")
COPIES = (
    "wait",
    *(f"everything {name}" for name in BROKERS),
    *(f"carry {name}" for name in CLIENTS),
    *(f"{file} {name}" for file in FILES for name in BROKERS),
)


@contextlib.contextmanager
def interrupted(after: int | None) -> Iterator[None]:
    """Interrupts the block before it writes the file with this number; None: does not."""
    left = [after]
    really = written.write

    def write(path: Path, data: bytes | str, mode: int = written.PUBLIC) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        if left[0] is not None:
            left[0] -= 1
        really(path, data, mode)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt, AuthorityError):
        patch.setattr(written, "write", write)
        yield


@pytest.mark.heavy
@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(
            # `retire` is tried everywhere, and is refused nearly always.
            st.tuples(st.sampled_from(("step", "step", "retire")), st.none() | st.integers(0, 20)),
            st.tuples(st.sampled_from(COPIES), st.none()),
        ),
        min_size=10,
        max_size=25,
    )
)
def test_nobody_is_refused_whatever_is_copied_when_and_wherever_a_step_is_interrupted(actions):
    with tempfile.TemporaryDirectory() as place:
        office = Office(Path(place))
        for action, interruption in actions:
            with interrupted(interruption):
                office.act(action)
            office.everybody_connects()
        # Somebody does it all once more.
        if len(office.authority.issuers) == 1:
            succession.begin(office.authority)
        last = office.authority.successor or office.authority.signer
        for _ in range(5):
            rolled = office.roll()
            office.everybody_connects()
            if rolled.step == "retire":
                break
            copy_to(office, *BROKERS)
            carry_to(office, *CLIENTS)
            office.wait()
            office.everybody_connects()
        succession.retire(office.authority, ask=office.ask)
        copy_to(office, *BROKERS)
        carry_to(office, *CLIENTS)
        assert office.authority.issuers == (last,)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("writes", range(0, 24, 2))
def test_each_step_can_be_repeated_after_an_interruption(office, step, writes):
    first = office.authority.signer
    for action in ("next", "roll", "roll", "roll", "retire"):
        if action == step:
            with interrupted(writes):
                office.act(action)
            office.everybody_connects()
        if action == "next" or len(office.authority.issuers) > 1 or succession.in_progress(office.authority.folder):
            office.act(action)
        office.everybody_connects()
        copy_to(office, *BROKERS)
        carry_to(office, *CLIENTS)
    assert office.authority.issuers == (office.authority.signer,)
    assert office.authority.signer != first
    assert office.authority.crl.read().keys() == {office.authority.signer.id}
    assert not succession.in_progress(office.authority.folder)
    assert inspection.check(office.authority) == []
