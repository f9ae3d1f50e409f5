"""The library makes everything that a new broker needs."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import msgspec
import pytest

from afpools_broker.config import LimitsSection, load
from afpools_tools.credentials.authority import Authority
from afpools_tools.setup import Answers, make_state, render


def test_every_setting_is_in_the_file_with_the_defaults_commented_out(tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text(render(Answers()))
    defaults = load(file, {})
    file.write_text("".join(line.removeprefix("#") if " = " in line else line for line in file.open()))
    text = file.read_text().replace('password_file = "store-password"', 'password_file = ""')
    file.write_text(text)
    assert load(file, {}) == defaults
    for section in ("broker", "curve", "tls", "store", "farm", "live", "credentials", "limits"):
        assert f"[{section}]" in text
        for key in getattr(defaults, section).__struct_fields__:
            assert f"{key} = " in text


def test_the_table_of_limits_has_each_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+(?: MiB)?) \|", page, re.MULTILINE))
    said = {name: float(text.removesuffix(" MiB")) * (2**20 if "MiB" in text else 1) for name, text in rows.items()}
    defaults = msgspec.structs.asdict(LimitsSection())
    assert {name: said.get(name) for name in defaults} == defaults


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state folder"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_for_its_owner_only(state):
    assert make_state(state)
    assert mode(state) == 0o700
    assert mode(state / "broker.toml") == 0o600
    assert mode(state / "certs" / "profiles" / "manager" / "client.pem") == 0o600


def test_a_hand_edited_broker_toml_is_never_rewritten(state):
    make_state(state)
    file = state / "broker.toml"
    edited = file.read_text().replace('#log_level = "info"', 'log_level = "debug"  # mine')
    file.write_text(edited)
    assert not make_state(state, farm="afserver", curve_port=1024, tls_port=1025)
    assert file.read_text() == edited


def test_options_of_the_first_run_are_kept(state):
    make_state(state, farm="afserver:51001", tls_port=1025)
    settings = load(state / "broker.toml", {})
    assert (settings.farm_address, settings.tls.port, settings.tls.address) == (("afserver", 51001), 1025, "127.0.0.1")


def test_a_profile_that_was_deleted_is_made_again_and_the_old_one_revoked(state):
    make_state(state)
    profile = state / "certs" / "profiles" / "manager"
    profile.rename(state / "elsewhere")
    make_state(state)
    assert (profile / "client.pem").exists()
    authority = Authority.open(state / "certs")
    assert len(authority.crl.read()[authority.signer.id].revoked) == 1


def test_existing_files_are_left_alone(state):
    make_state(state)
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    make_state(state)
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before
