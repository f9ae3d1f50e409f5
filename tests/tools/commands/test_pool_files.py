"""Pools to files and from files, and from Afanasy's own pools."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from tests.command import AFPOOLS, environment

from afpools_broker.pools.changes import Change
from afpools_broker.pools.history import Entry
from afpools_broker.protocol import Role
from afpools_broker.store import StoreUnavailable

FIVE = "pc-[01-05]"


@pytest.fixture
def pools(manager) -> None:
    manager("pool", "create", "fx", FIVE, "--description", "Simulation", "--colour", "#ff8800")
    manager("pool", "create", "night", "gpu-[1-3]")


def test_an_export_can_be_imported(manager, pools, tmp_path):
    file = tmp_path / "pools.json"
    assert manager("pool", "export", file).out == f"Wrote 2 pools to {file}.\n"
    assert json.loads(manager("pool", "export").out) == json.loads(file.read_text())
    before = manager("pool", "show", "fx").out
    manager("pool", "delete", "fx", "-y")
    manager("pool", "remove", "night", "gpu-2")
    assert manager("pool", "import", file).out == "fx: create with 5 hosts\nnight: + gpu-2\n2 changes made.\n"
    assert manager("pool", "show", "fx").out == before
    assert manager("pool", "import", file).out == "Nothing to do: 2 pools as in the file.\n"


def test_an_import_can_be_tried(manager, pools, tmp_path):
    file = tmp_path / "pools.json"
    manager("pool", "export", file)
    manager("pool", "delete", "fx", "-y")
    assert manager("pool", "import", file, "--dry-run").out == "fx: create with 5 hosts\n1 change would be made.\n"
    assert "fx" not in manager("pool", "list").out


def test_a_dry_run_says_what_the_import_would_refuse(farm, tmp_path):
    farm("pool", "create", "fx", "gpu-1")
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\ncomp,pc-1\nfx,GPU-1\nfx,gpu-2\nnight,gpu-3\n")
    refusals = (
        "comp: pc-1 is not on the farm, which has pc-01: did you mean pc-01? If the machine is not set up "
        "yet, add --new.\n"
        "fx: GPU-1 is in the pool 'fx' already, as gpu-1: the farm takes both for one machine. Leave it out.\n"
    )
    tried = farm("pool", "import", file, "--dry-run")
    assert tried == (
        1,
        "night: create with 1 host\n1 change would be made.\n",
        f"afpools: 2 pools of the file cannot be imported as a whole:\n{refusals}",
    )
    assert [pool["name"] for pool in json.loads(farm("pool", "list", "--json").out)] == ["fx"]
    made = farm("pool", "import", file)
    assert made.out == "night: create with 1 host\n1 change made.\n"
    assert made.err == tried.err.replace("cannot", "could not")


def test_a_dry_run_accounts_for_hosts_that_the_import_removes_first(farm, tmp_path):
    farm("pool", "create", "fx", "gpu-1", "gpu-2")
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\nfx,GPU-1\n")
    told = "fx: - gpu-[1-2]\nfx: + GPU-1\n2 changes"
    assert farm("pool", "import", file, "--replace", "--dry-run").out == f"{told} would be made.\n"
    assert farm("pool", "import", file, "--replace").out == f"{told} made.\n"


def test_a_dry_run_with_machines_that_are_not_set_up_yet(farm, tmp_path):
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\ncomp,new-1\n")
    assert farm("pool", "import", file, "--dry-run").status == 1
    assert farm("pool", "import", file, "--dry-run", "--new") == (
        0,
        "comp: create with 1 host\n1 change would be made.\n",
        "",
    )


def test_a_dry_run_says_that_nothing_could_be_checked(manager, tmp_path):
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\ncomp,pc-01\n")
    sentence = "The names could not be checked: this broker has no afserver to ask which machines there are.\n"
    assert manager("pool", "import", file, "--dry-run").err == sentence
    assert manager("pool", "import", file).err == sentence


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_standard_input_that_is_not_utf_8_is_refused_in_any_locale(place, tmp_path, locale):
    done = subprocess.run(
        [AFPOOLS, "pool", "import", "-", "--profile", place.profile("anna", Role.MANAGER)],
        input=b"pool,host\nfx\xff,pc-01\n",
        env=environment(tmp_path, LC_ALL=locale, PYTHONCOERCECLOCALE="0", PYTHONUTF8="0"),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == b"afpools: Standard input is not text in UTF-8.\n"


def test_an_import_takes_nothing_away_unless_told(manager, pools):
    text = json.dumps({"pools": [{"name": "fx", "hosts": ["pc-[01-02]", "new"]}]})
    assert manager("pool", "import", "-", given=text).out == "fx: + new\n1 change made.\n"
    assert manager("pool", "import", "-", "--replace", given=text).out == (
        "fx: - pc-[03-05]\nfx: description '', colour ''\n2 changes made.\n"
    )
    assert manager("pool", "import", "-", "--replace", given=text).out == "Nothing to do: 1 pool as in the file.\n"
    assert "night" in manager("pool", "list").out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not JSON"),
        ("[]", "no list of pools"),
        ('{"pools": 5}', "no list of pools"),
        ('{"pools": [5]}', "number 1 has no name"),
        ('{"pools": [{"name": "a"}, {"name": "a"}]}', "'a' is there twice"),
        ('{"pools": [{"name": "a", "hosts": "pc-1"}]}', "list of names"),
        ('{"pools": [{"name": "a", "hosts": ["x y"]}]}', "'x y' is neither"),
        ('{"pools": [{"name": "a", "colour": "red"}]}', "'red' is not a colour"),
        ('{"pools": [{"name": "a", "host": []}]}', "'host', which no pool has"),
    ],
)
def test_a_broken_file_is_refused_before_anything_is_changed(manager, tmp_path, text, said):
    file = tmp_path / "pools.json"
    file.write_text(text)
    refused = manager("pool", "import", file)
    assert refused.status == 1
    assert refused.err.startswith(f"afpools: {file}")
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert manager("pool", "list", "--json").out == "[]\n"


def test_files_that_cannot_be_used_are_named(manager, pools, tmp_path):
    missing = tmp_path / "nowhere" / "pools.json"
    assert manager("pool", "import", missing).err == f"afpools: {missing} cannot be read: No such file or directory.\n"
    assert manager("pool", "export", missing).err == (
        f"afpools: {missing} cannot be written: No such file or directory. Make the folder {missing.parent}, or choose "
        "another place.\n"
    )


def test_afanasy_s_own_pools_are_shown_and_imported_when_somebody_says_yes(farm):
    shown = "/ → /: create with 1 host: pc-01\n/local/gpu → local/gpu: create with 3 hosts: gpu-[1-3]\n"
    assert farm("pool", "import", "--native", "--dry-run").out == f"{shown}2 changes would be made.\n"
    refused = farm("pool", "import", "--native", given="n\n")
    assert refused.status == 1
    assert refused.out.startswith(f"{shown}Make these 2 changes?")
    assert farm("pool", "list", "--json").out == "[]\n"
    assert farm("pool", "import", "--native", given="y\n").out.endswith("2 changes made.\n")
    assert "gpu-[1-3]" in farm("pool", "show", "local/gpu").out
    assert farm("pool", "import", "--native").out == "Nothing to do: 2 pools as in Afanasy.\n"


def test_an_import_says_for_each_pool_which_names_are_not_renders(farm, tmp_path):
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\nfx,gpu-[01-02]\nday,gpu-1\nnight,gpu-9\n")
    refused = farm("pool", "import", str(file))
    assert refused.status == 1
    assert refused.out == "day: create with 1 host\n1 change made.\n"
    said = " ".join(refused.err.split())
    assert "2 pools of the file could not be imported as a whole:" in said
    assert "fx: gpu-[01-02] are not on the farm, which has gpu-[1-3]: did you mean gpu-[1-2]?" in said
    assert "night: gpu-9 is not on the farm" in said
    assert said.count("add --new") == 2
    assert farm("pool", "import", str(file), "--new").status == 0
    assert farm("pool", "import", str(file)).out == "Nothing to do: 3 pools as in the file.\n"


def test_a_replacing_import_may_spell_a_machine_differently(farm, tmp_path):
    farm("pool", "create", "fx", "GPU-1", "gpu-2.studio.lan", "gpu-3")
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\nfx,gpu-1\nfx,gpu-2\nfx,pc-01\n")
    refused = farm("pool", "import", str(file))
    assert (refused.status, "in the pool 'fx' already" in " ".join(refused.err.split())) == (1, True)
    done = farm("pool", "import", str(file), "--replace")
    assert (done.status, done.out.splitlines()[0]) == (0, "fx: + pc-01"), "nothing is taken out before the rest is in"
    assert json.loads(farm("pool", "show", "fx", "--json").out)["hosts"] == ["pc-01", "gpu-1", "gpu-2"]


def test_only_missing_hosts_are_added_and_none_taken_out(farm):
    farm("pool", "create", "local/gpu", "gpu-2", "mine", "--new")
    done = farm("pool", "import", "--native", "--yes", "--only", "/local/gpu")
    assert done.out == "/local/gpu → local/gpu: + gpu-[1,3]\n1 change made.\n"
    assert json.loads(farm("pool", "show", "local/gpu", "--json").out)["hosts"] == ["gpu-2", "mine", "gpu-1", "gpu-3"]
    assert [pool["name"] for pool in json.loads(farm("pool", "list", "--json").out)] == ["local/gpu"]
    unknown = farm("pool", "import", "--native", "--only", "/nix")
    assert unknown.status == 1
    assert "'/nix'" in unknown.err


def test_without_afserver_there_are_no_pools_of_afanasy(manager):
    refused = manager("pool", "import", "--native")
    assert refused.status == 1
    assert "never seen the farm" in refused.err


def test_an_import_whose_outcome_is_unknown_is_finished_by_running_it_again(manager, place, monkeypatch, tmp_path):
    file = tmp_path / "pools.json"
    file.write_text('{"pools": [{"name": "a", "hosts": ["pc-01"]}, {"name": "b", "hosts": ["pc-02"]}]}')
    apply = place.broker.store.apply

    def lose(change: Change) -> Entry:
        entry = apply(change)
        if change.pool == "b":
            raise StoreUnavailable("The database did not confirm it.")
        return entry

    with monkeypatch.context() as lost:
        lost.setattr(place.broker.store, "apply", lose)
        lost.setattr("afpools.calls._FIRST_PAUSE", 1e9)
        failed = manager("pool", "import", file)
    assert failed.status == 1
    assert failed.err.startswith("1 of 2 changes made before this one.\nafpools: It is not known")
    assert failed.err.endswith("Run the same command again: it does whatever is missing by then.\n")
    deadline = time.monotonic() + 60
    while "b" not in manager("pool", "list").out:
        assert time.monotonic() < deadline, "the broker does not see what is in its store"
    assert manager("pool", "import", file).out == "Nothing to do: 2 pools as in the file.\n"
