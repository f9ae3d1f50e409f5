"""CURVE key files and names of credentials: what is read, and what is refused because it could mean two things."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from afpools_broker.credentials.keys import check_name, parse_curve_key, parse_key_file
from afpools_broker.credentials.peers import Peer
from afpools_broker.protocol import Role


def test_a_key_file_written_by_hand_may_have_comments_no_quotes_and_no_end():
    public = zmq.curve_keypair()[0].decode()
    text = f'# a key\nmetadata\n  role = manager  # for now\n\n  name = "anna"\ncurve\n  public-key = "{public}" # !\n'
    key = parse_curve_key(text.encode(), "anna")
    assert (key.peer, key.public_key, key.expires) == (Peer("anna", Role.MANAGER), public, None)


def test_the_key_file_format_is_that_of_zmq_auth(tmp_path):
    public_file, _ = zmq.auth.create_certificates(tmp_path, "anna", {"role": "reader"})
    key, _ = zmq.auth.load_certificate(public_file)
    assert parse_key_file(Path(public_file).read_text())["curve"]["public-key"] == key.decode()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("a = 1", "1"),
        ("\ta\t=\t1\t\r", "1"),
        ("a =", ""),
        ('a = ""', ""),
        ('a = "1"', "1"),
        ("a = '1'", "1"),
        ("a = '\"'", '"'),
        ('a = "', '"'),
        ('a = "1', '"1'),
        ("a = 1 # one", "1"),
        ("a = 1\t# one # two", "1"),
        ("a = 1#2", "1#2"),
        ('a = "1 # 2"', "1 # 2"),
        ('a = "1" # one', "1"),
        ('a = "1"#one', "1"),
        ("a = b = c", "b = c"),
        ("a = 1\u2028b = 2", "1\u2028b = 2"),
        ("a = 1\x1cb", "1\x1cb"),
    ],
)
def test_a_value_of_a_key_file_is_read(line, value):
    assert parse_key_file(f"# first\n\nsection\n{line}\n") == {"section": {"a": value}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("role = reader", "line 1 is outside a section"),
        ("metadata\nrole = reader\nrole = manager", "role is given twice"),
        ('metadata\nrole = "reader" manager', "in line 2, something other than a comment follows the value of role"),
        ("metadata\nrole = 'reader'manager", "in line 2, something other than a comment follows the value of role"),
    ],
)
def test_an_ambiguous_key_file_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse_key_file(text)


@pytest.mark.parametrize("name", ["a", "Z", "0", "9", "_", "a.b-c_d9", "A" * 64])
def test_a_name_for_a_credential(name):
    check_name(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "A" * 65, "a b", "é", "a/b", "a:b", "a\n", "\x00"])
def test_an_invalid_name_for_a_credential_is_refused(name):
    with pytest.raises(ValueError, match="not a valid name"):
        check_name(name)
    key = f'metadata\nrole = "reader"\ncurve\npublic-key = "{zmq.curve_keypair()[0].decode()}"\n'
    with pytest.raises(ValueError, match="not a valid name"):
        parse_curve_key(key.encode(), name)
