"""The brokers of a profile, as their page shows them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.studio import Studio

from afpools_broker.protocol import Role

from .conftest import Manager, running, until


def test_a_profile_in_a_folder_whose_name_is_not_utf_8_is_shown(place: Studio, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"anna-\xff")
    shutil.copytree(place.profile("anna", Role.MANAGER), folder)
    with running(folder) as manager:
        manager.log_in()
        assert manager.read("brokers").json["profile"]["folder"] == str(folder)


def test_every_endpoint_is_asked(manager: Manager) -> None:
    answer = manager.read("brokers").json
    assert [endpoint["health"]["status"] for endpoint in answer["endpoints"]] == ["healthy", "healthy"]
    assert [credential["days_left"] > 30 for credential in answer["credentials"]] == [True, True]
    assert answer["profile"]["role"] == "manager"


def test_an_endpoint_that_is_down_is_reported(place: Studio) -> None:
    profile = place.profile("anna", Role.MANAGER)
    with running(profile) as manager:
        manager.log_in()
        place.authority.revoke("anna")
        place.broker.credentials.refresh()
        answer = until(
            lambda: (found := manager.read("brokers").json) and "error" in found["endpoints"][0] and found, seconds=30
        )
    assert answer["endpoints"][0]["error"]
    assert "health" not in answer["endpoints"][0]
