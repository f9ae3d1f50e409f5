"""A profile is found where it should be, and every error names its place."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from afpools import Endpoint, Profile, ProfileError, find_profile

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # from ZeroMQ RFC 32's example of a CURVE key


def make(folder: Path, described: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if described is None:
        described = {"name": folder.name, "role": "reader", "endpoints": [{"url": "tls://broker:5571"}]}
    (folder / "profile.json").write_text(described if isinstance(described, str) else json.dumps(described))
    (folder / "ca.pem").write_text("")
    (folder / "client.pem").write_text("")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and no variable that says where a profile is."""
    for name in ("AFPOOLS_PROFILE", "CGRU_LOCATION", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


# --- reading one


def test_a_profile_is_read(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "anna",
        {
            "name": "anna",
            "role": "manager",
            "endpoints": [{"url": "tls://broker.lan:5571"}, {"url": "curve://[fd00::7]:5570", "server_key": KEY}],
        },
    )
    profile = Profile.load(str(folder))
    assert profile == Profile(
        str(folder),
        "anna",
        "manager",
        (Endpoint("tls://broker.lan:5571"), Endpoint("curve://[fd00::7]:5570", KEY)),
    )
    assert profile.ca_file == str(folder / "ca.pem")
    assert profile.client_file == str(folder / "client.pem")
    assert profile.curve_file == str(folder / "client.key_secret")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("tls://broker:5571", ("tls", "broker", 5571)),
        ("tls://10.0.0.7:1", ("tls", "10.0.0.7", 1)),
        ("curve://[fd00::7]:65535", ("curve", "fd00::7", 65535)),
        ("tls://[fe80::1%eth0]:5571/", ("tls", "fe80::1%eth0", 5571)),
        ("quic://broker:5571", ("quic", "broker", 5571)),
    ],
)
def test_an_endpoint_has_scheme_host_and_port(url: str, parts: tuple[str, str, int]) -> None:
    endpoint = Endpoint(url)
    assert (endpoint.scheme, endpoint.host, endpoint.port) == parts


# A readable definition of a URL.
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:/?#@\[\]]+)):([0-9]{1,5})/?")
_PIECES = [
    "tls",
    "a",
    "9",
    "Z",
    "+",
    ".",
    "-",
    "_",
    "é",
    "٣",
    "ß",
    "Ⅷ",
    " ",
    "\u00a0",
    "\x1f",
    "\n",
    *":/?#@[]%",
    "",
    "//",
    "://",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join) | st.text(max_size=12))
@example("tls://a:00080")
@example("tls://a:80//")
@example("tls://[fd00::7%]:80")
@example("tls://[]:80")
@example("://a:80")
@example("tls://a:000080")
def test_a_url_is_read_as_this_expression_reads_it(text: str) -> None:
    for url in (text, f"tls://{text}", f"tls://{text}:80", f"tls://[{text}]:80", f"tls://[fd00::7{text}]:80"):
        match = _URL.fullmatch(url)
        if match and 0 < int(match[4]) < 65536:
            endpoint = Endpoint(url)
            assert (endpoint.scheme, endpoint.host, endpoint.port) == (match[1], match[2] or match[3], int(match[4]))
        else:
            with pytest.raises(ProfileError, match="is not of the form"):
                _ = Endpoint(url).scheme


def test_keys_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    endpoint = {"url": "tls://broker:5571", "weight": 3}
    folder = make(tmp_path / "p", {"endpoints": [endpoint, {"url": "quic://broker:1"}], "colour": "red"})
    assert [e.scheme for e in Profile.load(str(folder)).endpoints] == ["tls", "quic"]


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    folder = make(tmp_path / "p")
    path = folder / "profile.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Profile.load(str(folder)).name == "p"


def test_a_profile_with_curve_only_needs_no_certificates(tmp_path: Path) -> None:
    folder = make(tmp_path / "p", {"endpoints": [{"url": "curve://broker:5570", "server_key": KEY}]})
    (folder / "ca.pem").unlink()
    (folder / "client.pem").unlink()
    assert Profile.load(str(folder)).endpoints[0].server_key == KEY


@pytest.mark.parametrize(
    ("described", "text"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a JSON object"),
        ({}, '"endpoints" must be a list'),
        ({"endpoints": []}, '"endpoints" must be a list'),
        ({"endpoints": ["tls://broker:5571"]}, '"endpoints", entry 1: it must be an object with a "url"'),
        ({"endpoints": [{"url": "tls://a:1"}, {"url": 3}]}, '"endpoints", entry 2: it must be an object'),
        ({"endpoints": [{"url": "broker:5571"}]}, "'broker:5571' is not of the form"),
        ({"endpoints": [{"url": "tls://broker"}]}, "'tls://broker' is not of the form"),
        ({"endpoints": [{"url": "tls://broker:0"}]}, "not of the form"),
        ({"endpoints": [{"url": "tls://broker:65536"}]}, "not of the form"),
        ({"endpoints": [{"url": "tls://fd00::7:5571"}]}, r"tls://\[fd00::7\]:5571"),
        ({"endpoints": [{"url": "curve://a:1"}]}, '"server_key" must be'),
        ({"endpoints": [{"url": "curve://a:1", "server_key": "short"}]}, "not 'short'"),
        ({"endpoints": [{"url": "tls://a:1"}], "name": 3}, '"name" must be a text, not 3'),
        ({"endpoints": [{"url": "tls://a:1"}], "role": None}, '"role" must be a text'),
    ],
)
def test_every_error_names_its_file(tmp_path: Path, described: Any, text: str) -> None:
    folder = make(tmp_path / "p", described)
    with pytest.raises(ProfileError, match=text) as raised:
        Profile.load(str(folder))
    assert str(folder / "profile.json") in str(raised.value)


@pytest.mark.parametrize("name", ["profile.json", "ca.pem", "client.pem"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "p")
    (folder / name).unlink()
    with pytest.raises(ProfileError, match="No such file") as raised:
        Profile.load(str(folder))
    assert str(folder / name) in str(raised.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"gone is not a folder.*does not exist"):
        Profile.load(str(tmp_path / "gone"))


# --- finding one


def test_the_variable_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(home / ".config" / "afpools")
    monkeypatch.setenv("AFPOOLS_PROFILE", str(make(home / "named")))
    assert find_profile().name == "named"


def test_the_variable_may_refer_to_the_users_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(home / "named")
    monkeypatch.setenv("AFPOOLS_PROFILE", "~/named")
    assert find_profile().folder == str(home / "named")


def test_a_wrong_variable_is_an_error_even_if_other_places_have_a_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(home / ".config" / "afpools")
    monkeypatch.setenv("AFPOOLS_PROFILE", str(home / "gone"))
    with pytest.raises(ProfileError, match=r"gone is not a folder.*\$AFPOOLS_PROFILE names this profile"):
        find_profile()


def test_an_empty_variable_counts_as_unset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(home / ".config" / "afpools")
    monkeypatch.setenv("AFPOOLS_PROFILE", "")
    assert find_profile().name == "afpools"


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("linux", None, ".config/afpools"),
        ("linux", "XDG_CONFIG_HOME", "elsewhere/afpools"),
        ("darwin", None, "Library/Application Support/afpools"),
        ("win32", None, "AppData/Roaming/afpools"),
        ("win32", "APPDATA", "elsewhere/afpools"),
    ],
)
def test_the_users_folder_is_the_systems(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variable: str | None, folder: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(home / "elsewhere"))
    make(home / folder)
    assert find_profile().folder == str(home / folder)


def test_a_relative_configuration_folder_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    make(home / ".config" / "afpools")
    assert find_profile().folder == str(home / ".config" / "afpools")


def test_the_users_folder_comes_before_the_studios(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRU_LOCATION", str(home / "cgru"))
    make(home / "cgru" / "afpools")
    assert find_profile().folder == str(home / "cgru" / "afpools")
    make(home / ".config" / "afpools")
    assert find_profile().folder == str(home / ".config" / "afpools")


def test_a_broken_profile_is_not_skipped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRU_LOCATION", str(home / "cgru"))
    make(home / "cgru" / "afpools")
    make(home / ".config" / "afpools", "{")
    with pytest.raises(ProfileError, match="is not JSON"):
        find_profile()


def test_a_profile_that_cannot_be_read_is_not_skipped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRU_LOCATION", str(home / "cgru"))
    make(home / "cgru" / "afpools")
    # A link to itself stands for a folder without permission, which would not stop root.
    (home / ".config").symlink_to(home / ".config")
    with pytest.raises(ProfileError, match="cannot be looked at: Too many levels of symbolic links"):
        find_profile()


def test_the_error_lists_the_places_searched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRU_LOCATION", str(home / "cgru"))
    with pytest.raises(ProfileError) as raised:
        find_profile()
    text = str(raised.value)
    assert "$AFPOOLS_PROFILE: not set" in text
    assert f"{home}/.config/afpools/profile.json: not there" in text
    assert f"{home}/cgru/afpools/profile.json: not there" in text
    assert "afpools certs profile" in text
