"""What the hook does to CGRU's module `af`. Whole programs with it: tests/clients/hook."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from afpools import hook
from afpools.choice import WITHOUT


class Scene:
    """A scene of a Blender in which our add-on is not active."""

    def __init__(self, **kept: str) -> None:
        self._kept = kept

    def get(self, name: str) -> str | None:
        return self._kept.get(name)


class SceneOf5:
    def __init__(self, **kept: str) -> None:
        self._kept = kept or None

    def bl_system_properties_get(self) -> dict[str, str] | None:
        return self._kept


class SceneWithAddOn:
    afpools_pool = "gpu"


def within_blender(monkeypatch: pytest.MonkeyPatch, scene: object) -> None:
    blender = SimpleNamespace(context=SimpleNamespace(scene=scene))
    monkeypatch.setitem(sys.modules, "bpy", blender)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scene", "pool"),
    [
        (Scene(afpools_pool="fx"), "fx"),
        (Scene(), ""),
        (Scene(afpools_pool=WITHOUT), WITHOUT),
        (SceneOf5(afpools_pool="fx"), "fx"),
        (SceneOf5(), ""),
        (SceneWithAddOn(), "gpu"),
    ],
)
def test_a_scene_names_its_pool_whether_or_not_the_add_on_is_active(
    monkeypatch: pytest.MonkeyPatch, scene: object, pool: str
) -> None:
    within_blender(monkeypatch, scene)
    assert hook.chosen() == pool


@pytest.mark.parametrize(("kept", "pool"), [(["nacht%2Fgr%C3%B6%C3%9Fe"], "nacht/größe"), (["-"], WITHOUT), ([], "")])
def test_a_scene_of_maya_names_its_pool(monkeypatch: pytest.MonkeyPatch, kept: list[str], pool: str) -> None:
    maya = SimpleNamespace(fileInfo=lambda name, query: kept)
    monkeypatch.setitem(sys.modules, "maya.cmds", maya)  # type: ignore[arg-type]
    assert hook.chosen() == pool
    monkeypatch.setitem(sys.modules, "maya.cmds", SimpleNamespace())  # type: ignore[arg-type]
    assert hook.chosen() == ""


def test_a_program_without_a_pool_names_none() -> None:
    assert hook.chosen() == ""


def test_a_foreign_module_af_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    hook.cover(SimpleNamespace())
    assert capsys.readouterr().err == ""
    hook.cover(SimpleNamespace(Job=object, __file__="/cgru/af.py"))
    assert "/cgru/af.py has no Job.send" in capsys.readouterr().err
