"""A scene with a pool where our add-on is not active: the hook reads the pool from the scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer
from tests.studio import Studio

from afpools_tools.plugins.catalogue import hook_alone
from afpools_tools.plugins.install import install, plan

pytestmark = pytest.mark.heavy

EXTENSION = "bl_ext.user_default.afanasy_pools"


@pytest.fixture
def blender(start_blender: Callable[..., Any], open_studio: Studio, cgru: Path, tmp_path: Path) -> tuple[Any, Path]:
    """A Blender with CGRU's add-on, ours, and the hook; and the profile."""
    hook = tmp_path / "hook"
    install(hook_alone(), plan(hook_alone(), hook), "test")
    profile = open_studio.profile("anna")
    # As CGRU starts it: with --python-use-system-env.
    blender = start_blender(cgru, profile, PYTHONPATH=str(hook), AFPOOLS_PROFILE=str(profile))
    assert blender.enable(name="cgru_tools")
    return blender, profile


def pools(farm: AfServer) -> list[str | None]:
    """The pools of the jobs that have arrived."""
    return [json.loads(job.get("custom_data") or "{}").get("afpools", {}).get("pool") for job in farm.jobs]


def test_a_disabled_add_on_leaves_the_scenes_pool_in_force(blender: tuple[Any, Path], farm: AfServer) -> None:
    here, _ = blender
    here.choose(pool="fx")
    here.disable(name=EXTENSION)
    assert here.submit() == {"outcome": ["FINISHED"], "error": ""}
    assert pools(farm) == ["fx"]


def test_a_blender_with_factory_settings_reads_the_pool_from_the_file(
    blender: tuple[Any, Path], farm: AfServer, tmp_path: Path
) -> None:
    here, _ = blender
    here.choose(pool="gpu")
    here.save(file=str(tmp_path / "home/shot_010.blend"))
    assert not here.factory_startup()
    assert here.enable(name="cgru_tools")
    assert here.submit() == {"outcome": ["FINISHED"], "error": ""}
    assert pools(farm) == ["gpu"]


def test_a_new_scene_has_the_studios_default_and_a_file_with_the_add_on_may_leave_it_out(
    blender: tuple[Any, Path], farm: AfServer
) -> None:
    here, profile = blender
    file = profile / "profile.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pool": "gpu"}))
    here.choose(pool="fx")
    here.new_scene()
    assert here.send_by_hand() == {"sent": True, "error": ""}
    here.choose(pool="-")
    assert here.send_by_hand() == {"sent": True, "error": ""}
    assert pools(farm) == ["gpu", None]


def test_a_job_that_cannot_be_kept_on_the_scenes_pool_is_not_sent(
    blender: tuple[Any, Path], farm: AfServer, open_studio: Studio
) -> None:
    here, _ = blender
    here.choose(pool="fx")
    here.disable(name=EXTENSION)
    open_studio.broker.__exit__(None, None, None)
    outcome = here.submit()
    assert "The job was not sent: it cannot be kept on the pool 'fx'" in outcome["error"]
    assert pools(farm) == []
