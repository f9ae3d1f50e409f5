"""docs/security.md claims nothing without a test; and tests for claims that no other test covers."""

from __future__ import annotations

import ast
import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tests.desk import MANAGER, open_desk
from tests.studio import Studio, studio

from afpools import Client, Forbidden, Profile
from afpools_broker.operations import OPERATIONS
from afpools_broker.protocol import Role

PAGE = (Path(__file__).parents[1] / "docs" / "security.md").read_text()
PROVEN, NOT_PROTECTED = PAGE.split("## What is not protected")
ROWS = [
    row
    for row in re.findall(r"^\| (.+) \|$", PROVEN.partition("\n## Attacks")[0], re.MULTILINE)
    if not re.fullmatch(r"[-| ]+|.* \| shown by", row)
]
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def _tests_of(file: str) -> set[str]:
    tree = ast.parse((Path(__file__).parent / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_sentence_names_a_test() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        sentence, _, tests = row.rpartition(" | ")
        assert sentence.endswith("."), row
        assert TEST.sub("", tests).strip(" ,") == "", row
        assert TEST.search(tests), row


@pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall(PAGE))))
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in _tests_of(file)


def test_no_operation_removes_anything_from_history(tmp_path: Path) -> None:
    assert {name for name in OPERATIONS if name.startswith("history.")} == {"history.list", "history.undo"}
    with open_desk(tmp_path / "pools.sqlite") as desk:
        desk.ok("pools.create", pool="fx", hosts=["pc-01"])
        desk.ok("pools.delete", pool="fx")
        desk.ok("history.undo", entry=desk.ok("history.list")["entries"][0]["id"])
        entries = desk.ok("history.list")["entries"]
        assert [entry["op"] for entry in entries] == ["history.undo", "pools.delete", "pools.create"]
        assert {entry["who"] for entry in entries} == {MANAGER.name}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    with studio(tmp_path) as made:
        yield made


def test_a_profile_that_claims_to_be_a_managers_is_not_one(place: Studio) -> None:
    folder = place.profile("artist")
    file = folder / "profile.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "anna", "role": "manager"}))
    profile = Profile.load(str(folder))
    assert profile.role == "manager"
    with Client(profile, timeout=30) as client:
        me = client.hello()
        assert (me.name, me.role) == ("artist", "reader")
        with pytest.raises(Forbidden):
            client.create_pool("fx")


def test_a_stranger_sees_the_brokers_certificate_and_nothing_more(place: Studio) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", place.tls_port), timeout=30) as plain:
        connection = context.wrap_socket(plain)
        der = connection.getpeercert(binary_form=True)
        # The refusal of a certificate that was not shown comes with the first read.
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate required"):
            connection.recv(1)
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)


def test_a_reader_sees_pools_hosts_masks_and_health(place: Studio) -> None:
    with Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=30) as manager:
        manager.create_pool("fx", ["pc-01"])
        manager.register_hosts(["pc-02"])
    with Client(Profile.load(str(place.profile("artist"))), timeout=30) as reader:
        assert reader.get_pool("fx").hosts == ("pc-01",)
        assert [host.name for host in reader.list_hosts().hosts] == ["pc-01", "pc-02"]
        assert reader.exclude_mask("fx").mask
        assert reader.health()["connections"]
