"""The profile, copied to where plug-ins look for it."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from tests.command import Result

from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority

from ..conftest import everything

Afpools = Callable[..., Result]


def test_a_profile_is_put_where_the_plug_in_looks_and_for_its_owner_only(afpools: Afpools, home: Path) -> None:
    authority = Authority.create(home / "certs")
    authority.issue_broker("broker", ["127.0.0.1"])
    profile = authority.issue_profile("anna", Role.READER, ["tls://127.0.0.1:5571"])
    assert "No profile was found" in afpools("install", "blender", "--yes").err
    copy = home / ".config/afpools"
    asked = afpools("install", "blender", "--profile", profile, given="n\n")
    assert (asked.status, f"{copy}: 4 files to write" in asked.out, copy.exists()) == (1, True, False)
    assert afpools("install", "blender", "--yes", "--profile", profile).status == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in copy.iterdir()} == {0o600}
    assert everything(copy) == everything(profile)
    assert "No profile" not in afpools("install", "blender", "--yes").err
    assert afpools("install", "blender", "--yes", "--profile", profile).status == 0
    (copy / "profile.json").write_text("{}")
    refused = afpools("install", "blender", "--yes", "--profile", profile)
    assert (refused.status, (copy / "profile.json").read_text()) == (1, "{}")
    assert f"The profile in {copy} stays" in afpools("uninstall", "blender", "--yes").out
