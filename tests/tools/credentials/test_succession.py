"""One authority takes over from another while a broker serves, and nobody is locked out meanwhile."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.studio import Studio, point

from afpools import AfpoolsError, Client, Profile
from afpools_broker.credentials.authorities import parse_issuers
from afpools_broker.protocol import Role
from afpools_tools.credentials import inspection, succession
from afpools_tools.credentials.authority import Authority
from afpools_tools.credentials.files import AuthorityError

from .conftest import contents


def client(place: Studio, folder: Path) -> Client:
    point(folder, tls=place.tls_port, curve=place.curve_port)
    profile = Profile.load(str(folder))
    endpoints = tuple(endpoint for endpoint in profile.endpoints if endpoint.scheme == "tls")
    return Client(profile._replace(endpoints=endpoints), timeout=10)


def connects(place: Studio, folder: Path) -> bool:
    """Whether a profile admits its owner, over a separate connection."""
    with client(place, folder) as opened:
        return answered(opened)


def answered(opened: Client) -> bool:
    try:
        return bool(opened.hello().name)
    except AfpoolsError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def sentences(folder: Path) -> list[str]:
    return [problem.sentence for problem in inspection.check(Authority.open(folder))]


@pytest.fixture
def certs(place: Studio, afpools, monkeypatch):
    """`afpools certs` in the studio's folder. What the broker reads is that same folder."""
    monkeypatch.setenv("AFPOOLS_CERTS", str(place.folder / "certs"))

    def certs(*arguments: object) -> str:
        done = afpools("certs", *arguments)
        assert done.status == 0, done.err
        return done.out + done.err

    return certs


@pytest.fixture
def workstation(place: Studio, tmp_path: Path) -> Callable[[str], Path]:
    """A profile that somebody moved away from profiles/."""

    def carried(name: str) -> Path:
        folder = tmp_path / "workstations" / name
        shutil.copytree(place.folder / "certs" / "profiles" / name, folder, dirs_exist_ok=True)
        return folder

    return carried


def revoked_by_whoever_issued_it(place, certs, *, old: tuple[str, Path], new: tuple[str, Path]) -> None:
    """Each is revoked by the authority that issued it, open connections included."""
    with client(place, old[1]) as of_old, client(place, new[1]) as of_new:
        assert answered(of_old)
        assert answered(of_new)
        certs("revoke", "otto")
        certs("revoke", "nora")
        for opened, profile in ((of_old, old[1]), (of_new, new[1])):
            wait_until(lambda opened=opened: not answered(opened))
            assert not connects(place, profile)
    rows = json.loads(certs("list", "--json"))
    state = {(row["name"], row["authority"]): row["state"] for row in rows if row["kind"] == "TLS"}
    assert state["otto", old[0]] == state["nora", new[0]] == "revoked"


@pytest.mark.heavy
def test_an_authority_is_replaced_while_everybody_works(place, afpools, certs, workstation, tmp_path):
    folder = place.folder / "certs"
    key = folder / "brokers" / "broker.key"
    key.write_text(key.read_text().replace('tls-port = "5571"', f'tls-port = "{place.tls_port}"'))
    for name in ("anna", "otto"):
        certs("profile", name, "--role", "reader")
    anna, otto = workstation("anna"), workstation("otto")
    assert connects(place, anna)
    old = place.authority.signer.name

    # Two authorities: the first still signs until the broker trusts both.
    assert f"{old} still signs" in certs("ca", "--next")
    new = Authority.open(folder).successor.name
    assert new != old
    wait_until(lambda: len(place.broker.credentials.trusted()) == 2)
    rolled = afpools("certs", "roll")
    assert rolled.status == 1
    assert "anna: no broker has seen its new certificate." in rolled.err
    assert "Renewed: anna" in rolled.out
    assert Authority.open(folder).signer.name == new
    assert all(connects(place, each) for each in (anna, otto))
    certs("profile", "nina", "--role", "reader")
    certs("profile", "nora", "--role", "reader")
    nina, nora = workstation("nina"), workstation("nora")
    assert all(connects(place, each) for each in (nina, nora))

    revoked_by_whoever_issued_it(place, certs, old=(old, otto), new=(new, nora))
    assert connects(place, anna)
    assert connects(place, nina)
    rows = json.loads(certs("list", "--json"))
    state = {(row["name"], row["authority"]): row["state"] for row in rows if row["kind"] == "TLS"}
    assert state["anna", new] == state["nina", new] == state["broker", old] == "valid"
    assert "Authority" in certs("list").splitlines()[0]

    # As long as somebody may know only the first, the broker shows a certificate from it.
    assert "The previous authority has signed it" in certs("renew", "broker")
    refused = afpools("certs", "ca", "--retire")
    assert refused.status == 1
    assert f"These have certificates that {old} issued: broker." in refused.err
    before = shutil.copytree(anna, tmp_path / "anna before")
    anna = workstation("anna")
    assert connects(place, anna)
    assert connects(place, before)
    assert connects(place, anna)
    assert "anna: its old certificate was used on" in afpools("certs", "roll").err
    rolled = afpools("certs", "roll", "--done", "anna")
    assert "Renewed: broker" in rolled.out
    wait_until(lambda: afpools("certs", "roll").out.startswith("Nothing depends on the old authority any more."))
    assert connects(place, anna)
    assert connects(place, nina)

    one_authority_again(place, certs, anna=anna, nina=nina, before=before)
    (issuer,) = parse_issuers((folder / "profiles" / "nina" / "ca.pem").read_bytes())
    assert issuer.name == new


def one_authority_again(place, certs, *, anna, nina, before) -> None:
    """The profile that was moved away earlier no longer works, whatever its owner believes."""
    with client_that_believes_anything(place, before) as connection:
        certs("ca", "--retire", "--force")
        wait_until(lambda: not connection.recv(1))
    with pytest.raises(ssl.SSLError), client_that_believes_anything(place, before) as connection:
        connection.recv(1)
    assert connects(place, anna)
    assert connects(place, nina)
    assert sentences(place.folder / "certs") == []
    assert certs("check").endswith(": no problems found.\n")
    certs("revoke", "anna")
    wait_until(lambda: not connects(place, anna))


def client_that_believes_anything(place: Studio, profile: Path) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(profile / "client.pem")
    plain = socket.create_connection(("127.0.0.1", place.tls_port), timeout=30)
    return context.wrap_socket(plain)


# --- the folder -----------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.create(tmp_path / "certs", name="Studio")
    made.issue_broker("broker", ["localhost"])
    made.issue_profile("anna", Role.READER)
    return made


def test_the_first_authoritys_key_is_kept_for_revoking_and_for_its_owner_only(authority):
    key = authority.ca_key_path.read_bytes()
    succession.switch(succession.begin(authority))
    kept = authority.former_key_path(authority.signer)
    assert kept.read_bytes() == key
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.chmod(0o644)
    (problem,) = [one for one in inspection.check(Authority.open(authority.folder)) if str(kept) in one.sentence]
    assert problem.fix is not None
    problem.fix()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_each_key_may_have_its_own_passphrase_or_none(tmp_path):
    first = Authority.create(tmp_path / "certs", passphrase="correct horse")
    first.issue_broker("broker", ["localhost"])
    first.issue_profile("anna", Role.READER)
    waiting = succession.begin(Authority.open(first.folder), passphrase="battery staple")
    assert waiting.signer == first.signer
    succession.switch(waiting)
    second = Authority.open(first.folder, passphrase="battery staple")
    assert second.signer == Authority.open(first.folder).signer != first.signer
    second.issue_profile("nina", Role.READER)
    second.revoke("nina")
    with pytest.raises(AuthorityError, match=r"former/.*-key\.pem: the passphrase is wrong"):
        second.revoke("anna")
    Authority.open(first.folder, passphrase="correct horse").revoke("anna")
    lists = second.crl.read()
    assert [len(lists[issuer.id].revoked) for issuer in second.issuers] == [1, 1]


def test_if_the_first_authoritys_key_is_lost_the_second_can_still_take_over(authority):
    authority.ca_key_path.unlink()
    second = succession.switch(succession.begin(authority))
    assert second.signer != authority.signer
    with pytest.raises(AuthorityError, match=r"nothing can be signed by the authority .* without it.*is NOT revoked"):
        second.revoke("anna")
    with pytest.raises(AuthorityError, match="issued: broker"):
        succession.retire(second)
    succession.retire(second, force=True)
    assert Authority.open(authority.folder).issuers == (second.signer,)


def test_there_are_never_three_authorities(authority):
    second = succession.switch(succession.begin(authority))
    before = contents(authority.folder)
    with pytest.raises(AuthorityError, match="holds 2 authorities already"):
        succession.begin(second)
    assert contents(authority.folder) == before


def test_a_single_authority_is_not_retired(authority):
    with pytest.raises(AuthorityError, match="none can be retired"):
        succession.retire(authority, force=True)


def test_without_the_key_of_the_remaining_authority_nothing_is_retired(authority):
    second = succession.switch(succession.begin(authority))
    second.ca_key_path.rename(authority.folder / "elsewhere")
    before = contents(authority.folder)
    with pytest.raises(AuthorityError, match="is not here"):
        succession.retire(Authority.open(authority.folder), force=True)
    assert contents(authority.folder) == before


# --- files that somebody has put together by hand -------------------------------------------------------------------


@pytest.fixture
def joined(authority: Authority, tmp_path: Path) -> Authority:
    """A folder with the second authority's files appended to the first one's, as people do by hand."""
    other = Authority.create(tmp_path / "other", name="Studio")
    for name in ("ca.pem", "crl.pem"):
        with (authority.folder / "ca" / name).open("ab") as file:
            file.write(b"# the other\n" + (other.folder / "ca" / name).read_bytes())
    return Authority.open(authority.folder)


def test_check_looks_at_every_entry_of_both_files(joined, authority):
    profile = "profiles/anna/ca.pem: it does not hold the same authorities as ca/ca.pem"
    assert [profile in sentence for sentence in sentences(joined.folder)] == [True]
    authority.crl.put(authority.signer, {}, authority.ca_key())  # knows only one authority, and drops everything else
    (_, second) = joined.issuers
    found = sentences(joined.folder)
    assert any(f"crl.pem: it has no list of the authority {second.name}" in sentence for sentence in found)
    (joined.folder / "ca" / "ca.pem").write_bytes(b"rubbish")
    with pytest.raises(AuthorityError, match=r"ca\.pem: there is no certificate in it"):
        Authority.open(joined.folder)


def test_check_finds_what_one_of_two_authorities_has_not_revoked(joined, tmp_path):
    joined.issue_profile("late", Role.READER)
    shutil.rmtree(joined.profile_path("late"))
    for path in joined.client_paths("late"):
        path.unlink()
    assert any("A certificate of 'late' is still accepted" in sentence for sentence in sentences(joined.folder))
    joined.revoke("late")
    assert not any("late" in sentence for sentence in sentences(joined.folder))


def test_check_finds_an_orphaned_list_and_fix_removes_it(authority, tmp_path):
    other = Authority.create(tmp_path / "other", name="Studio")
    own = authority.crl.read()
    with (authority.folder / "ca" / "crl.pem").open("ab") as file:
        file.write((other.folder / "ca" / "crl.pem").read_bytes())
    (problem,) = inspection.check(authority)
    assert "crl.pem: it holds a list of an authority that is not in ca/ca.pem" in problem.sentence
    assert problem.fix is not None
    problem.fix()
    assert sentences(authority.folder) == []
    assert authority.crl.read() == own


def test_an_expired_authority_is_found(authority):
    later = Authority.open(authority.folder, clock=lambda: authority.now() + dt.timedelta(days=3600))
    second = succession.begin(later)
    after = Authority.open(second.folder, clock=lambda: authority.now() + dt.timedelta(days=3700))
    found = [problem.sentence for problem in inspection.check(after)]
    assert any("expired on" in one and "Finish the change: `afpools certs roll`" in one for one in found)
    last = second.successor
    succession.retire(after)
    assert Authority.open(second.folder).issuers == (last,)


def test_the_authority_whose_key_is_present_signs_whatever_the_order(joined):
    (first, second) = joined.issuers
    (joined.folder / "ca" / "ca.pem").write_bytes(
        b"".join(
            part + b"-----END CERTIFICATE-----\n"
            for part in reversed(joined.ca_pem().split(b"-----END CERTIFICATE-----\n")[:-1])
        )
    )
    turned = Authority.open(joined.folder)
    assert turned.issuers == (second, first)
    assert turned.signer == first
    turned.revoke("anna")
    assert {len(turned.crl.read()[issuer.id].revoked) for issuer in (first,)} == {1}
