"""What people write by hand: broker.toml with the variables beside it, and profile.json."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from tests.fuzz.mutations import STRANGE_NUMBERS, TEXTS, changed, changed_json, changed_text
from tests.fuzz.target import Check, Target

from afpools import ProfileError, transport
from afpools.profile import Profile
from afpools_broker import config
from afpools_broker.config import Config, ConfigError
from afpools_tools import setup

# --- broker.toml ----------------------------------------------------------------------------------------------------

_SECTIONS = [name for name in Config.__struct_fields__ if name != "folder"]
_SHORT = b"""[store]
uri = "mongodb://anna@db1,db2/afpools?replicaSet=rs0"
password_file = "pw"
[farm]
server = "[fd00::7]:51000"
"""


def _every_key() -> bytes:
    """The file with every possible setting."""
    values = msgspec.to_builtins(config.build(tomllib.loads(_SHORT.decode()), folder=Path(), where=""))
    values.pop("folder")
    return _toml(values)


def _toml(values: dict[str, Any]) -> bytes:
    top = [f"{_key(name)} = {_value(value)}" for name, value in values.items() if not isinstance(value, dict)]
    for section, table in values.items():
        if isinstance(table, dict):
            top += [f"[{_key(section)}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    return "\n".join(top).encode("utf-8", "surrogatepass")


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan are TOML's own words
    return json.dumps(value, ensure_ascii=False)


def _leaf(random: Random) -> Any:
    return random.choice((True, False, random.choice(STRANGE_NUMBERS), random.choice(TEXTS), [], {}))


def _changed_toml(data: bytes, random: Random) -> bytes:
    text, nul, variables = data.partition(b"\0")
    if not random.randint(0, 3):
        section, key = random.choice(_SECTIONS), random.choice(("port", "address", "server", "timeout", "name", "x"))
        value = random.choice((*TEXTS, "1", "0", "-1", "70000", "1e9", "nan", "true", "::1"))
        variable = f"\nAFPOOLS_{section.upper()}_{key.upper()}={value}"
        return text + b"\0" + variables + variable.encode("utf-8", "surrogatepass")
    try:
        values = tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        return changed_text(data, random)
    if not random.randint(0, 4):
        return changed_text(data, random)
    made = changed(values, random, _leaf)
    return (_toml(made) if isinstance(made, dict) else text) + nul + variables


@contextlib.contextmanager
def _broker_toml(folder: Path) -> Iterator[Check]:
    """The input is the file and, after a NUL, variables, one per line."""
    file = folder / "broker.toml"

    def check(data: bytes) -> None:
        text, _, variables = data.partition(b"\0")
        file.write_bytes(text)
        lines = variables.decode("utf-8", "surrogateescape").split("\n")
        try:
            read = config.load(file, dict(line.split("=", 1) for line in lines if "=" in line))
        except ConfigError as error:
            said = str(error)
            assert said.startswith((str(file), "The variable AFPOOLS_", "AFPOOLS_")), said
            assert "cannot be read as TOML" in said or any(section in said.lower() for section in _SECTIONS), said
            return
        # What was understood can be written and is understood the same way again.
        values = msgspec.to_builtins(read)
        values.pop("folder")
        assert config.build(values, folder=folder, where="") == read
        assert read.farm_address is None or 0 < read.farm_address[1] < 65536
        read.path(read.credentials.folder)

    yield check


@contextlib.contextmanager
def _init(folder: Path) -> Iterator[Check]:
    """The input is the answers to `afpools init`: the file that it writes says the same."""
    file = folder / "broker.toml"

    def check(data: bytes) -> None:
        name, store, farm = [*data.decode("utf-8", "replace").split("\0"), "", ""][:3]
        answers = setup.Answers(name=name, store=f"sqlite:///{store}", farm=farm)
        try:
            wanted = answers.settings(folder)
        except ConfigError:
            return
        file.write_text(setup.render(answers), encoding="utf-8")
        assert config.load(file, {}) == wanted

    yield check


# --- profile.json ---------------------------------------------------------------------------------------------------

_PROFILE = {
    "name": "anna",
    "role": "reader",
    "endpoints": [
        {"url": "tls://broker.studio.lan:5571", "broker": "one"},
        {"url": "curve://[fd00::7]:5570", "server_key": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"},
    ],
}


@contextlib.contextmanager
def _profile(folder: Path) -> Iterator[Check]:
    for name in ("ca.pem", "client.pem"):
        (folder / name).touch()

    def check(data: bytes) -> None:
        (folder / "profile.json").write_bytes(data)
        try:
            profile = Profile.load(str(folder))
        except ProfileError as error:
            assert str(folder) in str(error)
            return
        assert profile.endpoints
        for endpoint in profile.endpoints:
            assert endpoint.scheme
            assert endpoint.host
            assert 0 < endpoint.port < 65536
            transport.unusable(profile, endpoint)

    yield check


TARGETS = (
    Target(
        "broker-toml", _broker_toml, lambda: (_SHORT, _every_key(), _SHORT + b"\0AFPOOLS_TLS_PORT=1"), _changed_toml
    ),
    Target("init", _init, lambda: (b"broker\0pools.sqlite\0afserver:51000", b"b\0a\0"), changed_text),
    Target("profile-json", _profile, lambda: (json.dumps(_PROFILE).encode(),), changed_json),
)
