"""The pool on CGRU's afanasy node in Nuke: CGRU's own scripts, with a stand-in for Nuke's module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.hook.conftest import old_python

from .conftest import FX, NOTHING, PROGRAMS, WILL_WAIT, Desk, open_desk, undated

pytestmark = pytest.mark.heavy

NODE = ("one = afanasy()", "listed()")
SHOWN = 'one.knob("afpools_choice").values()'
SAID = "see(nuke.messages)"


@pytest.fixture
def nuke(tmp_path: Path) -> Iterator[Desk]:
    variables = {"NUKE_PATH": "plugins/nuke_afpools:plugins/nuke", "NUKE_CGRU_PATH": "plugins/nuke"}
    yield from open_desk(tmp_path, "nuke", [], variables)


@pytest.mark.parametrize("hook", [False, True])
def test_a_node_has_a_pool_and_its_job_is_kept_on_it(nuke: Desk, hook: bool) -> None:
    shown, chosen, beside = nuke.run(
        *NODE,
        f"see({SHOWN})",
        'choose(one, "fx")',
        'see(one.knob("afpools_pool").value())',
        'see(one.knob("afpools_machines").value())',
        "send(one)",
        hook=hook,
    )
    assert (shown, chosen) == (["No pool", "fx, 2 hosts", "gpu, 1 host"], "fx")
    assert undated(beside) == "fx, 2 of 2 online (then)"
    assert nuke.fenced == [FX]


def test_without_a_pool_it_is_the_stock_node(nuke: Desk) -> None:
    (said,) = nuke.run(*NODE, "send(one)", 'choose(one, "fx")', 'choose(one, "No pool")', "send(one)", SAID)
    assert (nuke.fenced, said) == ([NOTHING, NOTHING], [])


def test_without_a_pool_the_studios_default_applies_as_everywhere(nuke: Desk) -> None:
    nuke.office.say(pool="fx")
    shown, kept = nuke.run(
        *NODE,
        f"see({SHOWN})",
        "send(one)",
        "send(nuke.createNode('Write'))",
        'choose(one, "No pool")',
        'see(one.knob("afpools_pool").value())',
        "send(one)",
    )
    assert shown[1:] == ["No pool", "fx, 2 hosts", "gpu, 1 host"]
    assert "fx" in shown[0]
    assert (kept, nuke.fenced) == ("-", [FX, FX, NOTHING])


def test_the_pool_is_saved_with_the_script(nuke: Desk) -> None:
    (kept, before) = nuke.run(*NODE, 'choose(one, "fx")', "see(nuke.saved())", "see(nuke.modified())")
    assert "online" not in kept.partition("afpools_machines")[0]
    again = f"nuke.open_script({kept!r})", "one = nuke.toNode('afanasy1')", "listed()"
    pool, shown, modified = nuke.run(
        *again,
        'see(one.knob("afpools_pool").value())',
        'see(one.knob("afpools_choice").value())',
        "see(nuke.modified())",
        "send(one)",
    )
    assert (pool, shown, before, modified) == ("fx", "fx, 2 hosts", True, False)
    assert nuke.fenced == [FX]


def test_a_script_from_before_gets_the_knobs(nuke: Desk) -> None:
    kept = '[{"class": "afanasy", "name": "afanasy1", "inputs": [], "knobs": []}]'
    (shown,) = nuke.run(f"nuke.open_script({kept!r})", "one = nuke.toNode('afanasy1')", "listed()", f"see({SHOWN})")
    assert shown == ["No pool", "fx, 2 hosts", "gpu, 1 host"]


def test_a_missing_pool_is_shown_and_nothing_is_sent(nuke: Desk) -> None:
    shown, beside, said, scenes = nuke.run(
        "one = afanasy('gone')",
        "listed()",
        f"see({SHOWN})",
        'see(one.knob("afpools_machines").value())',
        "send(one)",
        SAID,
        "see([name for name in os.listdir(os.environ['HOME']) if name.endswith('.nk')])",
    )
    assert shown[-1] == "gone, missing"
    assert undated(beside) == "gone, missing (then)\ngone is missing: choose another pool, or No pool."
    assert len(said) == 1
    assert said[0].startswith("The job was not sent: it cannot be kept on the pool 'gone'")
    # Not even a temporary script was left behind.
    assert (nuke.fenced, scenes) == ([], [])


def test_without_a_broker_the_last_list_is_shown_and_nothing_is_sent(nuke: Desk) -> None:
    nuke.run(*NODE)
    nuke.office.broker_away()
    shown, beside, said = nuke.run(
        *NODE,
        'one.knob("afpools_refresh").execute()',
        "listed()",
        f"see({SHOWN})",
        'choose(one, "fx")',
        'see(one.knob("afpools_machines").value())',
        "send(one)",
        'choose(one, "No pool")',
        "send(one)",
        SAID,
    )
    assert shown == ["No pool", "fx, 2 hosts", "gpu, 1 host"]
    assert "No broker answered" in beside
    (message,) = said
    assert message.startswith("The job was not sent: it cannot be kept on the pool 'fx'")
    assert nuke.fenced == [NOTHING]


def test_a_pool_that_can_run_nothing_gets_a_warning_and_the_job_is_sent(nuke: Desk) -> None:
    nuke.create_pool("night", "old-1")
    beside, said = nuke.run(
        *NODE, 'choose(one, "night")', 'see(one.knob("afpools_machines").value())', "send(one)", SAID
    )
    assert undated(beside).splitlines() == ["night, no machine on the farm (then)", WILL_WAIT]
    assert ([job["pool"] for job in nuke.fenced], said) == (["night"], [WILL_WAIT])


def test_a_node_below_on_another_pool_sends_nothing_and_both_are_named(nuke: Desk) -> None:
    (said,) = nuke.run("one = afanasy('fx')", "top = afanasy('gpu')", "top.setInput(0, one)", "send(top)", SAID)
    (message,) = said
    assert ("'fx'" in message, "'gpu'" in message, nuke.fenced) == (True, True, [])


def test_several_jobs_of_one_node_are_all_kept_on_its_pool(nuke: Desk) -> None:
    several = "one.knob('singlejob').setValue(0)", "one.setInput(1, nuke.createNode('Write'))", "send(one)"
    nuke.run("one = afanasy('fx')", *several)
    assert nuke.fenced == [FX, FX]


def test_without_a_window_a_job_that_cannot_be_kept_on_its_pool_is_an_error(nuke: Desk) -> None:
    failing = "try:\n    send(one)\nexcept Exception as error:\n    see(str(error))"
    asked = "import afpools_nuke_chooser", "see(afpools_nuke_chooser._pools().latest().fetched)"
    said, fetched = nuke.run("one = afanasy('gone')", failing, *asked, TERMINAL="1")
    assert "cannot be kept on the pool 'gone'" in said
    # Renders open scripts too, and do not ask for pools.
    assert (nuke.fenced, fetched) == ([], None)


def test_with_an_unknown_script_of_cgru_only_jobs_without_a_pool_are_sent(nuke: Desk) -> None:
    changed = "import cgru", "stock = sys.modules['cgru.afanasy']", "stock.JobParameters.genJob = lambda self, other: 0"
    again = "stock.renderNodes = lambda nodes, fparams, storeframes: 0", "import afpools_nuke_chooser as ours"
    send = "import af", "one = afanasy('fx')"
    failing = "try:\n    af.Job('x').send()\nexcept RuntimeError as error:\n    see(str(error))"
    (said,) = nuke.run(*changed, *again, "ours._loaded(cgru)", *send, failing)
    assert "does not know this version of CGRU's afanasy.py (JobParameters." in said
    assert "afanasy1 (fx)" in said
    assert nuke.fenced == []


def test_cgrus_own_setup_puts_the_chooser_into_nukes_path(nuke: Desk) -> None:
    script = "source ./setup.sh >&2; source ./setup_afpools_nuke.sh; echo $NUKE_PATH"
    done = nuke.office.run("bash", "-c", script, cwd=nuke.office.cgru)
    assert done.stdout.strip() == str(nuke.office.cgru / "plugins/nuke_afpools"), done.stderr


def test_an_older_nuke_starts_and_sends_only_jobs_without_a_pool(nuke: Desk) -> None:
    done = nuke.office.run(
        old_python("2.7"), PROGRAMS / "old_nuke.py", nuke.office.cgru / "plugins/nuke_afpools", env={}
    )
    assert done.returncode == 0, done.stderr
