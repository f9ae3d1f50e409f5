"""Masks that CGRU would drop are refused in one sentence, and a module is changed whenever Python has run it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from afpools.cgru import ImportHook, set_masks, why_dropped
from afpools.errors import AfpoolsError

DROPPED = (
    "CGRU cannot read the exclude mask 'pc-0[1', and would send the job without it. Correct it, or leave it empty."
)


class Job:
    """CGRU's job class, which accepts some masks and silently drops others."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def setHostsMask(self, value: str) -> None:
        self.data["hosts_mask"] = value

    def setHostsMaskExclude(self, value: str) -> None:
        if not why_dropped("exclude mask", value):
            self.data["hosts_mask_exclude"] = value


def test_a_mask_that_is_not_a_regular_expression_would_be_dropped() -> None:
    assert why_dropped("exclude mask", "pc-0[1") == DROPPED
    assert [why_dropped("hosts mask", mask) for mask in ("", "pc-0[12]", "pc-01|pc-02")] == ["", "", ""]


def test_a_job_gets_the_masks_that_were_typed_and_no_others() -> None:
    job = Job()
    set_masks(job, "pc", "")
    assert job.data == {"hosts_mask": "pc"}
    set_masks(job, "", "pc-01")
    assert job.data == {"hosts_mask": "pc", "hosts_mask_exclude": "pc-01"}


def test_a_mask_that_the_job_does_not_accept_is_an_error() -> None:
    with pytest.raises(AfpoolsError) as refused:
        set_masks(Job(), "pc", "pc-0[1")
    assert str(refused.value) == DROPPED


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a hook on the module `hooked_by_test` has been given."""
    (tmp_path / "hooked_by_test.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found: list[str] = []
    hook = ImportHook("hooked_by_test", lambda module: found.append(f"{module.__name__} {module.value}"))
    hook.install()
    yield found
    hook.remove()
    hook.remove()
    sys.modules.pop("hooked_by_test", None)


def test_a_module_is_seen_whenever_it_has_been_run(seen: list[str]) -> None:
    module: ModuleType = importlib.import_module("hooked_by_test")
    importlib.import_module("hooked_by_test")
    assert seen == ["hooked_by_test 1"]
    importlib.reload(module)
    del sys.modules["hooked_by_test"]
    importlib.import_module("hooked_by_test")
    assert seen == ["hooked_by_test 1"] * 3


def test_other_and_missing_modules_are_left_to_other_importers(seen: list[str]) -> None:
    importlib.import_module("json.tool")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("not_there_by_test")
    assert seen == []
    assert all(finder.find_spec("hooked_by_test.part", ["x"]) is None for finder in sys.meta_path[:1])
