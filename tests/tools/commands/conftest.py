"""A studio with a farm, for commands that look at it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.afserver import afserver, renders_answer
from tests.studio import studio

from afpools_broker.protocol import Role


@pytest.fixture
def farm(tmp_path: Path, afpools, monkeypatch: pytest.MonkeyPatch):
    """`afpools` for a manager of a studio with a farm that uses Afanasy's own pools."""
    answer = renders_answer([f"gpu-{number}" for number in range(1, 4)] + ["pc-01"])
    for render in answer["renders"]:
        render["pool"] = "/local/gpu" if render["name"].startswith("gpu") else "/"
    with afserver(answer) as server:
        address = f"127.0.0.1:{server.address[1]}"
        with studio(tmp_path / "farm", farm={"server": address}) as place:
            monkeypatch.setenv("AFPOOLS_PROFILE", str(place.profile("anna", Role.MANAGER)))
            until = time.monotonic() + 20
            while "gpu-3" not in afpools("host", "list").out:
                assert time.monotonic() < until
            yield afpools
