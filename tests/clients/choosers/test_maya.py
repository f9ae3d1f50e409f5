"""The pool in CGRU's Afanasy window in Maya: CGRU's own window, with stand-ins for Maya's commands and PyMEL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.hook.conftest import old_python

from .conftest import FX, NOTHING, PROGRAMS, WILL_WAIT, Desk, open_desk

pytestmark = pytest.mark.heavy

WINDOW = ("ui = window()", "listed()")
SEND = 'press("SUBMIT")'
SAID = "see(maya.said)"


@pytest.fixture
def maya(tmp_path: Path) -> Iterator[Desk]:
    path = ["plugins/maya", "plugins/maya_afpools"]
    yield from open_desk(tmp_path, "maya", path, {"MAYA_CGRU_LOCATION": "plugins/maya"})


@pytest.mark.parametrize("hook", [False, True])
def test_the_window_has_a_pool_and_its_job_is_kept_on_it(maya: Desk, hook: bool) -> None:
    listed, kept, rows = maya.run(
        *WINDOW, "see(labels())", 'choose("fx")', "see(maya.scene)", "see(rows())", SEND, hook=hook
    )
    assert listed == ["No pool", "fx, 2 of 2 online", "gpu, 1 of 1 online"]
    assert kept == {"afpools_pool": "fx"}
    at = rows.index("cgru_afanasy__pool")
    assert rows[at - 1 : at + 3 : 3] == ["cgru_afanasy__hosts_exclude", "cgru_afanasy__life_time"]
    assert maya.fenced == [FX]


def test_without_a_pool_it_is_the_stock_window(maya: Desk) -> None:
    said, warnings, scene = maya.run(
        *WINDOW, SEND, *WINDOW, 'choose("fx")', 'choose("No pool")', SEND, SAID, "see(maya.warnings)", "see(maya.scene)"
    )
    assert (maya.fenced, said, warnings, scene) == ([NOTHING, NOTHING], [], [], {})


def test_the_pool_is_kept_in_the_scene_and_every_job_of_this_maya_gets_it(maya: Desk) -> None:
    opened = "maya.scene['afpools_pool'] = 'fx'", *WINDOW
    (seen,) = maya.run(*opened, "see(shown())", SEND, "another_script()")
    assert seen == "fx, 2 of 2 online"
    assert maya.fenced == [FX, FX]


def test_with_the_hook_the_scenes_pool_holds_where_the_plug_in_is_not_installed(maya: Desk) -> None:
    maya.path.pop()
    (ours,) = maya.run(
        "see('afpools_maya' in sys.modules)", "maya.scene['afpools_pool'] = 'fx'", "another_script()", hook=True
    )
    assert (ours, maya.fenced) == (False, [FX])


def test_a_name_that_maya_cannot_keep_as_it_is(maya: Desk) -> None:
    maya.create_pool("nacht/größe", "pc-05")
    kept, seen = maya.run(*WINDOW, 'choose("nacht")', "see(maya.scene)", "see(shown())", SEND)
    assert (kept, seen) == ({"afpools_pool": "nacht/gr%C3%B6%C3%9Fe"}, "nacht/größe, 1 of 1 online")
    assert [job["pool"] for job in maya.fenced] == ["nacht/größe"]


def test_the_studios_default_is_shown_and_obeyed(maya: Desk) -> None:
    maya.office.say(pool="fx")
    listed, kept = maya.run(*WINDOW, "see(labels())", SEND, *WINDOW, 'choose("No pool")', "see(maya.scene)", SEND)
    assert ("fx" in listed[0], listed[1]) == (True, "No pool")
    assert (kept, maya.fenced) == ({"afpools_pool": "-"}, [FX, NOTHING])


def test_a_missing_pool_is_shown_and_nothing_is_sent_or_saved(maya: Desk) -> None:
    opened = "maya.scene['afpools_pool'] = 'gone'", *WINDOW
    seen, below, said, scenes = maya.run(*opened, "see(shown())", "see(beside())", SEND, SAID, "see(scenes())")
    assert (seen, below) == ("gone, missing", "gone is missing: choose another pool, or No pool.")
    (message,) = said
    assert message.startswith("The job was not sent: it cannot be kept on the pool 'gone'")
    assert (maya.fenced, scenes) == ([], [])


def test_without_a_broker_the_last_list_is_shown_and_nothing_is_sent(maya: Desk) -> None:
    maya.run(*WINDOW)
    maya.office.broker_away()
    listed, below, said = maya.run(
        *WINDOW,
        'press("Refresh")',
        "listed()",
        "see(labels())",
        'choose("fx")',
        "see(beside())",
        SEND,
        'choose("No pool")',
        SEND,
        SAID,
    )
    assert listed == ["No pool", "fx, 2 hosts", "gpu, 1 host"]
    assert "No broker answered" in below
    (message,) = said
    assert message.startswith("The job was not sent: it cannot be kept on the pool 'fx'")
    assert maya.fenced == [NOTHING]


def test_a_pool_that_can_run_nothing_gets_a_warning_and_the_job_is_sent(maya: Desk) -> None:
    maya.create_pool("night", "old-1")
    seen, below, said = maya.run(*WINDOW, 'choose("night")', "see(shown())", "see(beside())", SEND, SAID)
    assert (seen, below, said) == ("night, no machine on the farm", WILL_WAIT, [WILL_WAIT])
    assert [job["pool"] for job in maya.fenced] == ["night"]


def test_a_mask_that_was_typed_in_the_window_is_joined(maya: Desk) -> None:
    typed = "maya.there('cgru_afanasy__hosts_exclude').values['text'] = 'pc-01'"
    maya.run(*WINDOW, 'choose("fx")', typed, SEND)
    (job,) = maya.fenced
    assert (job["pool"], job["mask"] != FX["mask"]) == ("fx", True)


def test_a_job_for_each_layer_and_all_are_kept_on_the_pool(maya: Desk) -> None:
    layers = "maya.there('cgru_afanasy__separate_layers').values['select'] = 3"
    maya.run(*WINDOW, 'choose("fx")', layers, SEND)
    assert maya.fenced == [FX, FX]


def test_a_window_of_another_cgru_has_no_chooser_and_the_scenes_pool_still_holds(maya: Desk) -> None:
    other = (
        "import afanasy, afpools_maya_chooser",
        "afanasy.UI.show = lambda ui: None",
        "afpools_maya_chooser._loaded(afanasy)",
    )
    opened = "maya.scene['afpools_pool'] = 'fx'", *other, "window()", "see(maya.warnings)"
    (warnings,) = maya.run(*opened, "another_script()")
    assert ["does not know this version" in warning for warning in warnings] == [True]
    assert maya.fenced == [FX]


def test_an_older_maya_starts_and_sends_only_jobs_without_a_pool(maya: Desk) -> None:
    done = maya.office.run(
        old_python("2.7"), PROGRAMS / "old_maya.py", maya.office.cgru / "plugins/maya_afpools", env={}
    )
    assert done.returncode == 0, done.stderr


def test_cgrus_own_setup_puts_the_chooser_into_pythons_path(maya: Desk) -> None:
    script = "source ./setup.sh >&2; source ./setup_afpools_maya.sh; echo $PYTHONPATH"
    done = maya.office.run("bash", "-c", script, cwd=maya.office.cgru)
    assert done.stdout.strip().split(":").count(str(maya.office.cgru / "plugins/maya_afpools")) == 1, done.stderr
