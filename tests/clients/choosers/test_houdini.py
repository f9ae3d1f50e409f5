"""The pool on CGRU's afanasy node in Houdini: CGRU's own script, with a stand-in for `hou`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.hook.conftest import old_python

from .conftest import FX, NOTHING, PROGRAMS, WILL_WAIT, Desk, open_desk

pytestmark = pytest.mark.heavy

NODE = ("one = afanasy()", "listed()")
MENU = 'see(one.parm("afpools_pool").menu())'
SAID = "see(hou.said)"
NONE, POOLS = ["", "No pool"], [["fx", "fx, 2 of 2 online"], ["gpu", "gpu, 1 of 1 online"]]


@pytest.fixture
def houdini(tmp_path: Path) -> Iterator[Desk]:
    variables = {"HOUDINI_PATH": "plugins/houdini:plugins/houdini_afpools"}
    yield from open_desk(tmp_path, "houdini", ["plugins/houdini"], variables)


@pytest.mark.parametrize("hook", [False, True])
def test_a_node_has_a_pool_and_its_job_is_kept_on_it(houdini: Desk, hook: bool) -> None:
    menu, names = houdini.run(
        *NODE,
        MENU,
        "see([entry.name() for entry in one.parmTemplateGroup().entries[:3]])",
        'choose(one, "fx")',
        "send(one)",
        hook=hook,
    )
    assert menu == [NONE, *POOLS]
    assert names == ["job_name", "afpools_pool", "afpools_refresh"]
    assert houdini.fenced == [FX]


def test_without_a_pool_it_is_the_stock_node(houdini: Desk) -> None:
    (said,) = houdini.run(*NODE, "send(one)", 'choose(one, "fx")', 'choose(one, "No pool")', "send(one)", SAID)
    assert (houdini.fenced, said) == ([NOTHING, NOTHING], [])


def test_the_studios_default_is_shown_and_obeyed(houdini: Desk) -> None:
    houdini.office.say(pool="fx")
    menu, kept = houdini.run(
        *NODE, MENU, "send(one)", 'choose(one, "No pool")', 'see(one.parm("afpools_pool").eval())', "send(one)"
    )
    assert ("fx" in menu[0][1], menu[1]) == (True, ["-", "No pool"])
    assert (kept, houdini.fenced) == ("-", [FX, NOTHING])


def test_the_pool_is_saved_with_the_scene_and_nothing_about_machines(houdini: Desk) -> None:
    (kept,) = houdini.run(*NODE, 'choose(one, "fx")', "see(hou.saved())")
    assert "online" not in kept
    pool, menu_is_made = houdini.run(
        f"hou.load({kept!r})",
        "one = hou.node('/out/afanasy1')",
        'see(one.parm("afpools_pool").eval())',
        "send(one)",
        "see(sorted(one.spare))",
    )
    assert (pool, menu_is_made) == ("fx", ["afpools_pool", "afpools_refresh"])
    assert houdini.fenced == [FX]


def test_a_scene_from_before_gets_the_parameters(houdini: Desk) -> None:
    kept = '[{"type": "afanasy", "name": "afanasy1", "inputs": [], "spare": {}}]'
    (menu,) = houdini.run(f"hou.load({kept!r})", "one = hou.node('/out/afanasy1')", "listed()", MENU)
    assert menu == [NONE, *POOLS]


def test_a_missing_pool_is_shown_and_nothing_is_sent_or_saved(houdini: Desk) -> None:
    menu, said, saved = houdini.run(
        "one = afanasy('gone')", "listed()", MENU, "send(one)", SAID, "see(hou.saved_files)"
    )
    assert menu == [
        NONE,
        *POOLS,
        ["gone", "gone, missing"],
        ["gone", "gone is missing: choose another pool, or No pool."],
    ]
    (message,) = said
    assert message.startswith("The job was not sent: it cannot be kept on the pool 'gone'")
    assert (houdini.fenced, saved) == ([], [])


def test_without_a_broker_the_last_list_is_shown_and_nothing_is_sent(houdini: Desk) -> None:
    houdini.run(*NODE)
    houdini.office.broker_away()
    menu, status, said = houdini.run(
        *NODE,
        'one.parm("afpools_refresh").pressButton()',
        "listed()",
        MENU,
        'choose(one, "fx")',
        "see(hou.status[-1])",
        "send(one)",
        'choose(one, "No pool")',
        "send(one)",
        SAID,
    )
    assert menu[:3] == [NONE, ["fx", "fx, 2 hosts"], ["gpu", "gpu, 1 host"]]
    assert ("No broker answered" in menu[3][1], "No broker answered" in status) == (True, True)
    (message,) = said
    assert message.startswith("The job was not sent: it cannot be kept on the pool 'fx'")
    assert houdini.fenced == [NOTHING]


def test_a_pool_that_can_run_nothing_gets_a_warning_and_the_job_is_sent(houdini: Desk) -> None:
    houdini.create_pool("night", "old-1")
    menu, status, said = houdini.run(*NODE, 'choose(one, "night")', MENU, "see(hou.status)", "send(one)", SAID)
    assert menu[3:] == [["night", "night, no machine on the farm"], ["night", WILL_WAIT]]
    assert ([job["pool"] for job in houdini.fenced], status, said) == (["night"], [WILL_WAIT], [WILL_WAIT])


def test_a_node_below_on_another_pool_sends_nothing_and_both_are_named(houdini: Desk) -> None:
    (said,) = houdini.run("one = afanasy('fx')", "top = afanasy('gpu', 'top', [one])", "send(top)", SAID)
    (message,) = said
    assert ("'fx'" in message, "'gpu'" in message, houdini.fenced) == (True, True, [])
    houdini.run("one = afanasy()", "top = afanasy('fx', 'top', [one])", "send(top)")
    assert houdini.fenced == [FX]


def test_if_nothing_is_sent_the_rops_are_put_back(houdini: Desk) -> None:
    watched = (
        "import afanasy as stock",
        "back = []",
        "stock.BlockParameters.doPost = lambda self: back.append(self.name)",
    )
    (back,) = houdini.run(
        "one = afanasy('fx')", "top = afanasy('gpu', 'top', [one])", *watched, "send(top)", "see(back)"
    )
    assert len(back) == 2


def test_without_a_window_a_job_that_cannot_be_kept_on_its_pool_is_an_error(houdini: Desk) -> None:
    failing = "try:\n    send(one)\nexcept Exception as error:\n    see(str(error))"
    (said,) = houdini.run("one = afanasy('gone')", failing, TERMINAL="1")
    assert "cannot be kept on the pool 'gone'" in said
    assert houdini.fenced == []


def test_with_an_unknown_script_of_cgru_only_jobs_without_a_pool_are_sent(houdini: Desk) -> None:
    changed = "import afanasy as stock", "stock.render = lambda afnode, other: 0"
    again = "import afpools_houdini_chooser as ours", "one = afanasy('fx')"
    failing = "try:\n    stock.af.Job('x').send()\nexcept RuntimeError as error:\n    see(str(error))"
    (said,) = houdini.run(*changed, *again, failing)
    assert "does not know this version of CGRU's afanasy.py (render)" in said
    assert "/out/afanasy1 (fx)" in said
    assert houdini.fenced == []


def test_an_older_houdini_starts_and_sends_only_jobs_without_a_pool(houdini: Desk) -> None:
    plugin = houdini.office.cgru / "plugins/houdini_afpools"
    done = houdini.office.run(old_python("2.7"), PROGRAMS / "old_houdini.py", plugin, env={})
    assert done.returncode == 0, done.stderr


def test_cgrus_own_setup_puts_the_chooser_into_houdinis_path(houdini: Desk) -> None:
    script = "source ./setup.sh >&2; source ./setup_afpools_houdini.sh; echo $HOUDINI_PATH"
    done = houdini.office.run("bash", "-c", script, cwd=houdini.office.cgru)
    assert done.stdout.strip() == str(houdini.office.cgru / "plugins/houdini_afpools"), done.stderr
