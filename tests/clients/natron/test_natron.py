"""Natron's Afanasy node and dialog with a pool, in a separate process, with a real broker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer, afserver, renders_answer
from tests.clients.large_pools import assert_kept_on_large, grow
from tests.studio import Studio, studio

from afpools import Client, Profile
from afpools_broker.protocol import Role

HERE = Path(__file__).parent
CLIENTS = HERE.parents[2] / "clients"
STAND_IN = HERE.parent / "afstarter" / "cgru"
STOCK = os.environ.get("CGRU_LOCATION")
PYTHON_27 = shutil.which("python2.7")

pytestmark = pytest.mark.heavy

FX = {"mask": "(?!pc-0[13]$).*", "type": "regex", "pool": "fx"}
NOTHING = {"mask": None, "type": None, "pool": None}


@dataclass
class Workstation:
    """Natron's plug-ins, a broker, an afserver."""

    cgru: Path
    stock: Path
    farm: AfServer
    place: Studio
    home: Path
    profile: Path

    @property
    def env(self) -> dict[str, str]:
        python = HERE, CLIENTS / "natron", self.stock, self.cgru / "lib/python", self.cgru / "afanasy/python"
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AFPOOLS_", "XDG_"))},
            "HOME": str(self.home),
            "CGRU_LOCATION": str(self.cgru),
            "AF_ROOT": str(self.cgru / "afanasy"),
            "CGRU_AF_SERVERNAME": "127.0.0.1",
            "CGRU_AF_SERVERPORT": str(self.farm.address[1]),
            "PYTHONPATH": os.pathsep.join(map(str, python)),
            "AFPOOLS_PROFILE": str(self.profile),
        }

    def run(self, *steps: str, **variables: str) -> list[Any]:
        """What the observing steps have seen."""
        done = subprocess.run(
            [sys.executable, HERE / "at_the_window.py", *steps],
            env={**self.env, **variables},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SEEN ")]

    @property
    def fenced(self) -> list[dict[str, Any]]:
        """How each job that arrived is fenced."""
        return [
            {
                "mask": job.get("hosts_mask_exclude"),
                "type": job.get("hosts_mask_type"),
                "pool": json.loads(job.get("custom_data", "{}")).get("afpools", {}).get("pool"),
            }
            for job in self.farm.jobs
        ]


@pytest.fixture(
    params=["stand-in", pytest.param("stock", marks=pytest.mark.skipif(not STOCK, reason="CGRU_LOCATION: no CGRU"))]
)
def natron(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workstation]:
    stock = request.param == "stock"
    (tmp_path / "home").mkdir()
    with afserver(renders_answer([f"pc-0{n}" for n in range(1, 6)])) as farm:
        address = f"127.0.0.1:{farm.address[1]}"
        with studio(tmp_path / "studio", farm={"server": address}) as place:
            profile = place.profile("anna", Role.MANAGER)
            with Client(Profile.load(str(profile)), timeout=30) as client:
                client.create_pool("fx", ["pc-01", "pc-03"])
                client.create_pool("gpu (new)", ["pc-05"])
            cgru = Path(STOCK or "") if stock else STAND_IN
            plugin = cgru / "plugins/natron" if stock else HERE / "stock"
            yield Workstation(cgru, plugin, farm, place, tmp_path / "home", profile)


START = ("import afanasy_pools", "listed()", "one = new_node()", "afanasy_pools.add_params(one)")
SEND = 'change(one, "afanasy_button_send_job")'


def test_a_node_has_a_pool_and_its_job_is_kept_on_it(natron: Workstation) -> None:
    shown, chosen = natron.run(
        *START, "see(labels(one))", 'choose(one, "fx")', 'see(one.getParam("af_pool").getValue())', SEND
    )
    assert shown == ["No pool", "fx, 2 hosts", "gpu (new), 1 host"]
    assert chosen == "fx"
    assert natron.fenced == [FX]


def undated(text: str) -> str:
    """The text beside a node, which says when it was true."""
    return re.sub(r"\(20\d\d-\d\d-\d\d \d\d:\d\d\)", "(then)", text)


def test_the_node_says_beside_its_pool_how_many_machines_are_online_and_when(natron: Workstation) -> None:
    none, chosen, without = natron.run(
        *START,
        "see(machines(one))",
        'choose(one, "fx")',
        "see(machines(one))",
        'choose(one, "No pool")',
        "see(machines(one))",
    )
    assert (none, undated(chosen), without) == ("", "fx, 2 of 2 online (then)", "")


def test_the_nodes_counts_of_machines_follow_the_list(natron: Workstation) -> None:
    leave = 'afpools.Client(timeout=30).add_hosts("fx", ["pc-02"])'
    seen = natron.run(
        "import afpools",
        *START,
        'choose(one, "fx")',
        "see(machines(one))",
        leave,
        'change(one, "afpools_refresh")',
        "events()",
        "see(machines(one))",
        'afpools.Client(timeout=30).delete_pool("fx")',
        'change(one, "afpools_refresh")',
        "events()",
        "see(machines(one))",
    )
    assert [undated(text) for text in seen] == [
        "fx, 2 of 2 online (then)",
        "fx, 3 of 3 online (then)",
        "fx, missing (then)",
    ]


def test_a_new_node_shows_its_counts_once_the_broker_has_answered(natron: Workstation) -> None:
    (seen,) = natron.run(
        "import afanasy_pools",
        'menu("Afanasy Node (pools)")',
        "one = app.nodes[-1]",
        'one.getParam("af_pool").setValue("fx")',
        "events()",
        "see(machines(one))",
    )
    assert undated(seen) == "fx, 2 of 2 online (then)"


def test_a_node_of_an_older_version_gets_the_counts(natron: Workstation) -> None:
    before, after, page = natron.run(
        *START,
        'del one.params["afpools_machines"]',
        'choose(one, "fx")',
        'see(one.getParam("af_pool").getValue())',
        "afanasy_pools.add_params(one)",
        "see(machines(one))",
        'see(sorted(name for name in one.params if name.startswith("afpools")))',
    )
    assert (before, undated(after)) == ("fx", "fx, 2 of 2 online (then)")
    assert page == ["afpools", "afpools_choice", "afpools_machines", "afpools_refresh"]


def test_the_menu_makes_a_node_with_a_pool(natron: Workstation) -> None:
    (shown,) = natron.run(*START[:2], 'menu("Afanasy Node (pools)")', "see(labels(app.nodes[-1]))")
    assert shown[0] == "No pool"


def test_without_a_pool_it_is_the_stock_plug_in(natron: Workstation) -> None:
    natron.run(*START, SEND)
    natron.run(*START, 'choose(one, "fx")', 'choose(one, "No pool")', SEND)
    assert natron.fenced == [NOTHING, NOTHING]


def test_a_name_that_looks_like_a_count_is_a_name(natron: Workstation) -> None:
    natron.run(*START, 'choose(one, "gpu (new)")', SEND)
    assert natron.fenced[0]["pool"] == "gpu (new)"


def test_each_node_has_its_own_pool_and_the_dialogs_takes_precedence(natron: Workstation) -> None:
    both = (*START, 'choose(one, "fx")', "two = new_node()", "app.selected = [one, two]")
    natron.run(*both, "dialog(None)", 'menu("Render Selected (pools)...")')
    assert natron.fenced == [FX, NOTHING]
    natron.run(*both, 'dialog("gpu")', 'menu("Render Selected (pools)...")')
    assert [job["pool"] for job in natron.fenced[2:]] == ["gpu (new)", "gpu (new)"]
    natron.run(*both, 'dialog("No pool")', 'menu("Render Selected (pools)...")')
    assert natron.fenced[4:] == [NOTHING, NOTHING]


def test_a_pool_that_can_run_nothing_gets_a_warning_and_the_job_is_sent(natron: Workstation) -> None:
    with Client(Profile.load(str(natron.profile)), timeout=30) as client:
        client.create_pool("night", ["old-1"], new_hosts=True)
    shown, help_texts, machines, asked, said = natron.run(
        *START,
        "see(labels(one))",
        'see([text for _, text in one.getParam("afpools_choice").options])',
        'choose(one, "night")',
        "see(machines(one))",
        "app.selected = [one]",
        "app.answer = lambda shown: see(labels(shown)) or True",
        'menu("Render Selected (pools)...")',
        "see(messages())",
    )
    warning = "No host of the pool 'night' is a machine of this farm: the job will wait until one joins it."
    # The saved project contains nothing about machines that come and go.
    assert shown == ["No pool", "fx, 2 hosts", "gpu (new), 1 host", "night, 1 host"]
    assert [undated(text) for text in help_texts] == [
        "",
        "fx, 2 of 2 online (then)",
        "gpu (new), 1 of 1 online (then)",
        f"night, no machine on the farm (then)\n{warning}",
    ]
    assert undated(machines) == "night, no machine on the farm (then)"
    assert asked[2:] == ["fx, 2 of 2 online", "gpu (new), 1 of 1 online", "night, no machine on the farm"]
    assert said == [warning]
    assert natron.fenced[0]["pool"] == "night"


def test_a_mask_that_no_command_line_could_carry_is_sent_with_the_job(natron: Workstation) -> None:
    with Client(Profile.load(str(natron.profile)), timeout=30) as client:
        grow(natron.farm, client)
    (said,) = natron.run(*START, 'choose(one, "large")', SEND, 'choose(one, "too large")', SEND, "see(messages())")
    (job,) = natron.farm.jobs
    assert_kept_on_large(job)
    assert ["bytes are more than afserver accepts" in message for message in said] == [True]


def test_a_value_saved_by_an_older_version_is_still_a_pools_name(natron: Workstation) -> None:
    (pools,) = natron.run(
        *START,
        'old = [(label, "") for label in ("No pool", "fx (2 hosts)", "gpu (new) (1 host)")]',
        'one.getParam("afpools_choice").setOptions(old)',
        "pools = []",
        "for label in ('fx', 'gpu', 'No pool'): choose(one, label); pools.append(one.getParam('af_pool').getValue())",
        "see(pools)",
    )
    assert pools == ["fx", "gpu (new)", ""]


def test_a_cancelled_dialog_sends_nothing(natron: Workstation) -> None:
    natron.run(*START, 'choose(one, "fx")', "app.selected = [one]", 'menu("Render Selected (pools)...")')
    assert natron.fenced == []


def test_the_stock_menu_which_reloads_its_module_sends_with_the_nodes_pool(natron: Workstation) -> None:
    steps = (*START, 'choose(one, "fx")', "app.selected = [one]", "dialog(None)")
    natron.run(*steps, "stock_menu()", "stock_menu()")
    assert natron.fenced == [FX, FX]


def test_an_older_project_gets_the_parameters_and_keeps_its_pool(natron: Workstation) -> None:
    shown = natron.run(
        *START[:2],
        "old = new_node()",
        "app.selected = [old]",
        'menu("Render Selected (pools)...")',
        "see(labels(old))",
        'old.getParam("af_pool").setValue("gone")',
        "afanasy_pools.add_params(old)",
        'see([labels(old)[-1], old.getParam("afpools_choice").getValue(), old.getParam("af_pool").getValue()])',
    )
    assert shown[0] == ["No pool", "fx, 2 hosts", "gpu (new), 1 host"]
    assert shown[1] == ["gone, missing", 3, "gone"]


def test_a_deleted_pool_is_shown_as_missing_and_nothing_is_sent(natron: Workstation) -> None:
    gone = (
        "import afpools",
        'afpools.Client(timeout=30).delete_pool("fx")',
        'change(one, "afpools_refresh")',
        "listed()",
        'change(one, "afpools_refresh")',
    )
    shown, said = natron.run(*START, 'choose(one, "fx")', *gone, "see(labels(one))", SEND, "see(messages())")
    assert shown == ["No pool", "gpu (new), 1 host", "fx, missing"]
    assert "The job was not sent" in said[0]
    assert natron.fenced == []


def test_without_a_broker_the_last_list_is_shown_and_a_job_with_a_pool_is_not_sent(natron: Workstation) -> None:
    natron.run(*START)
    natron.place.broker.__exit__(None, None, None)
    shown, said = natron.run(*START, "see(labels(one))", 'choose(one, "fx")', SEND, "see(messages())")
    assert shown == ["No pool", "fx, 2 hosts", "gpu (new), 1 host"]
    assert "No broker answered" in said[0]
    assert natron.fenced == []
    natron.run(*START, SEND)
    assert natron.fenced == [NOTHING]


def test_the_stock_menu_of_a_fresh_natron_sends_a_saved_project_with_its_pools(natron: Workstation) -> None:
    natron.run(
        'app.selected = [stored("fx")]',
        "dialog(None)",
        "stock_menu()",
        'change(app.selected[0], "afanasy_button_send_job")',
    )
    assert natron.fenced == [FX, FX]


def test_the_pool_survives_every_way_of_reloading_the_stock_module(natron: Workstation) -> None:
    steps = ("import importlib, afanasy", 'one = stored("fx")')
    again = "importlib.reload(afanasy)", 'del sys.modules["afanasy"]; import afanasy', "importlib.reload(afanasy_pools)"
    natron.run(*steps, *(step for way in again for step in (way, "afanasy.renderNodes(app, [one])")))
    assert natron.fenced == [FX, FX, FX]


def test_without_a_window_jobs_are_sent_with_their_pools_and_a_failure_is_raised(natron: Workstation) -> None:
    send = "afanasy.renderNodes(app, [one])"
    failing = f"""
try:
    {send}
except afpools.PoolNotApplied as error:
    see(str(error))
"""
    steps = ("import afanasy, afpools", 'one = stored("fx")', send, 'one.getParam("af_pool").setValue("gone")', failing)
    (said,) = natron.run(*steps, BACKGROUND="1")
    assert "The job was not sent" in said
    assert natron.fenced == [FX]


def test_if_one_of_several_jobs_cannot_be_kept_on_its_pool_none_is_sent(natron: Workstation) -> None:
    selected = 'app.selected = [stored("fx"), stored("gone")]'
    (said,) = natron.run(selected, "dialog(None)", "stock_menu()", "see(messages())")
    assert ["'gone'" in message for message in said] == [True]
    assert natron.fenced == []


def test_an_upstream_node_on_another_pool_sends_nothing_and_both_are_named(natron: Workstation) -> None:
    joined = (
        'up, top = stored("fx"), stored(""); top.inputs = [up]; send = lambda: change(top, "afanasy_button_send_job")'
    )
    pool = 'top.getParam("af_pool").setValue'
    (said,) = natron.run(
        joined, "send()", f'{pool}("gpu (new)")', "send()", "see(messages())", f'{pool}("fx")', "send()"
    )
    assert [("Nothing was sent" in message, "'fx'" in message) for message in said] == [(True, True)] * 2
    assert natron.fenced == [FX]


def test_an_answer_that_is_not_a_pool_sends_nothing(natron: Workstation) -> None:
    answer = 'app.answer = lambda shown: shown.getParam("afpools_choice").setValue(99) or True'
    steps = ('app.selected = [stored("fx")]', answer, 'menu("Render Selected (pools)...")', "see(messages())")
    (said,) = natron.run(*steps)
    assert "Nothing was sent" in said[0]
    assert natron.fenced == []


def test_nothing_waits_for_a_broker_that_never_answers(natron: Workstation) -> None:
    # If anything did, this would never end.
    hanging = "import threading, afpools; afpools.Client.list_pools = lambda self: threading.Event().wait()"
    node = "one = new_node(); afanasy_pools.add_params(one)"
    (shown,) = natron.run(
        hanging,
        node,
        'change(one, "afpools_refresh")',
        "app.selected = [one]",
        'menu("Render Selected (pools)...")',
        "see(labels(one))",
    )
    assert shown == ["No pool"]


def test_a_list_that_arrives_after_the_button_was_pressed_is_shown(natron: Workstation) -> None:
    node = "one = new_node(); afanasy_pools.add_params(one)"
    (shown,) = natron.run(node, 'change(one, "afpools_refresh")', "events()", "see(labels(one))")
    assert shown == ["No pool", "fx, 2 hosts", "gpu (new), 1 host"]


def test_the_shown_entry_belongs_to_the_present_list(natron: Workstation) -> None:
    grow = 'afpools.Client(timeout=30).add_hosts("fx", ["pc-02"])'
    shown = 'see(one.getParam("afpools_choice").shown)'
    seen = natron.run(
        "import afpools", *START, 'choose(one, "fx")', shown, grow, 'change(one, "afpools_refresh")', "events()", shown
    )
    assert seen == ["fx, 2 hosts", "fx, 3 hosts"]


def test_with_an_unknown_submitter_only_jobs_without_a_pool_are_sent(natron: Workstation, tmp_path: Path) -> None:
    shutil.copytree(natron.stock, tmp_path / "stock")
    natron.stock = tmp_path / "stock"
    script = natron.stock / "afanasy.py"
    script.write_text(
        script.read_text().replace("def createJob(i_app, i_params)", "def createJob(i_app, i_params, i_=0)")
    )
    refused = """
try:
    change(one, "afanasy_button_send_job")
except RuntimeError:
    see(messages())
"""
    (said,) = natron.run("one = new_node()", SEND, 'one = stored("fx")', refused)
    assert "this version of CGRU's afanasy.py" in said[0]
    assert natron.fenced == [NOTHING]


def runs(python: str | None) -> bool:
    """A program that only says that it is not installed may go by the name, too."""
    return python is not None and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not runs(PYTHON_27), reason="there is no python2.7")
def test_an_older_natron_says_that_it_is_too_old_and_stays_unchanged(natron: Workstation) -> None:
    program = (
        "import sys, types\n"
        "engine = sys.modules['NatronEngine'] = types.ModuleType('NatronEngine')\n"
        "gui = sys.modules['NatronGui'] = types.ModuleType('NatronGui')\n"
        "class Natron(object):\n"
        "    def errorDialog(self, title, message):\n        print(message)\n"
        "    def addMenuCommand(self, *given):\n        pass\n"
        "    def isBackground(self):\n        return False\n"
        "    def getNumInstances(self):\n        return 1\n"
        "    def getInstance(self, number):\n        return self\n"
        "    def getChildren(self):\n        return [] if self is node else [node]\n"
        "    def getParam(self, name):\n        return self\n"
        "    def getLabel(self):\n        return 'Afanasy1'\n"
        "    def getValue(self):\n        return pool\n"
        "node, pool = Natron(), u''\n"
        "gui.natron = engine.natron = Natron()\n"
        "af = sys.modules['af'] = types.ModuleType('af')\n"
        "class Job:\n    def send(self):\n        return 'sent'\n"
        "af.Job = Job\n"
        f"sys.path.insert(0, {str(CLIENTS / 'natron')!r})\n"
        f"exec(open({str(CLIENTS / 'natron' / 'init.py')!r}).read())\n"
        f"exec(open({str(CLIENTS / 'natron' / 'initGui.py')!r}).read())\n"
        "afanasy_pools.createNode(None)\n"
        "afanasy_pools.renderSelected(None)\n"
        "assert Job().send() == 'sent'\n"
        "pool = u'fx'\n"
        "try:\n    Job().send()\nexcept RuntimeError as error:\n    assert 'Afanasy1 (fx)' in str(error)\n"
        "else:\n    raise AssertionError('it was sent')\n"
    )
    env = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [str(PYTHON_27), "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.count("Pools need Natron 2.5")) == (0, 3), done.stderr


def test_the_studios_default_is_preselected_on_a_node_and_may_be_left_out(natron: Workstation) -> None:
    file = natron.profile / "profile.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "pool": "fx"}))
    shown, kept = natron.run(
        *START, "see(labels(one))", SEND, 'choose(one, "No pool")', SEND, 'see(one.getParam("af_pool").getValue())'
    )
    assert shown == ["Default: fx (2 hosts)", "No pool", "fx, 2 hosts", "gpu (new), 1 host"]
    assert kept == "-"
    assert [fence["pool"] for fence in natron.fenced] == ["fx", None]
    file.write_text(json.dumps({**said, "required": True}))
    shown, said_why = natron.run(*START, "see(labels(one)[0])", SEND, "see(messages())")
    assert shown == "Choose a pool"
    assert "requires a pool for every job" in str(said_why)
    assert len(natron.fenced) == 2
