"""Asking real brokers about authorities."""

from __future__ import annotations

from afpools import Client
from afpools.profile import Profile
from afpools_tools.credentials.asking import ask_brokers, read_report

from .conftest import contents


def ports(place):
    """Writes a broker's real port to its file, as `afpools certs broker --tls-port` does."""
    path = place.authority.broker_paths("broker")[1]
    path.write_text(path.read_text().replace('"5571"', f'"{place.tls_port}"'))


def test_a_broker_says_what_it_trusts_and_shows_and_whom_it_has_seen(place):
    with Client(Profile.load(str(place.profile("anna")))) as client:
        client.hello()
    ports(place)
    before = contents(place.authority.folder)
    answer = ask_brokers(place.authority)["broker"]
    assert (answer.error, answer.trusted, answer.shown) == (
        "",
        {place.authority.signer.id.hex()},
        place.authority.signer.id.hex(),
    )
    assert contents(place.authority.folder) == before


def test_a_broker_that_does_not_answer_is_asked_at_every_address_and_says_why(place):
    ports(place)
    place.broker.stop()
    error = ask_brokers(place.authority, timeout=1)["broker"].error
    assert "tls://127.0.0.1:" in error
    assert "tls://localhost:" in error


def test_a_broker_of_an_earlier_version_does_not_say():
    assert read_report({"version": "0.1.0"}).error == "its version, 0.1.0, does not say which authorities it trusts"
