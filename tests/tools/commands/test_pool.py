"""`afpools pool`, `mask` and `host` against a real broker, as a TD types them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.command import AFPOOLS, environment, terminal
from tests.studio import Studio

from afpools import Client, HistoryEntry
from afpools_broker.pools.changes import Change
from afpools_broker.protocol import Role
from afpools_broker.store import StoreUnavailable

FIVE = "pc-[01-05]"


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


# --- pools ----------------------------------------------------------------------------------------------------------


def test_a_pool_from_nothing_to_its_mask(manager):
    assert manager("host", "register", FIVE).out == "Registered pc-[01-05].\n"
    assert manager("pool", "create", "fx", "pc-01,pc-03").out == "Created fx with 2 hosts.\n"
    made = manager("mask", "fx")
    assert made.out == "pc-02|pc-04|pc-05\n"
    assert made.err.startswith("fx: 2 hosts in, 3 of 5 known hosts out. Style list,")


def test_without_pools_the_list_says_how_to_make_one(manager):
    assert manager("pool", "list").out == "There are no pools yet. Make one: afpools pool create NAME 'pc-[01-40]'\n"
    assert manager("pool", "list", "--json").out == "[]\n"
    assert "afpools host register" in manager("host", "list").out
    assert manager("pool", "history").out == "Nothing has been changed yet.\n"


def test_the_list_has_names_sizes_and_descriptions(manager):
    manager("pool", "create", "fx", FIVE, "--description", "Simulation", "--colour", "#ff8800")
    manager("pool", "create", "night")
    assert lines(manager("pool", "list").out) == [
        "Pool Hosts On the farm Description",
        "● fx 5 not known Simulation",
        "night 0 no hosts",
    ]
    rows = json.loads(manager("pool", "list", "--json").out)
    assert [(row["name"], row["hosts"], row["colour"]) for row in rows] == [("fx", 5, "#ff8800"), ("night", 0, "")]


def test_a_pool_is_shown_with_its_hosts_as_ranges(manager):
    manager("pool", "create", "fx", FIVE, "gpu-[1-8,12]", "--description", "Simulation")
    shown = lines(manager("pool", "show", "fx").out)
    assert shown[:4] == ["Pool fx", "Description Simulation", "Hosts 14", "gpu-[1-8,12],pc-[01-05]"]
    assert len(json.loads(manager("pool", "show", "fx", "--json").out)["hosts"]) == 14


def test_an_empty_pool_is_reported_to_have_no_mask_from_the_start(manager):
    assert "jobs for it are refused" in manager("pool", "create", "fx").out
    assert "none: jobs for this pool are refused" in manager("pool", "show", "fx").out
    refused = manager("mask", "fx")
    assert (refused.status, refused.out) == (1, "")
    assert "no hosts" in refused.err


def test_hosts_are_added_and_removed_once(manager):
    manager("pool", "create", "fx", "pc-01")
    assert manager("pool", "add", "fx", "pc-[01-03]", "a,gpu-[1,3]").out == (
        "Added a,gpu-[1,3],pc-[02-03] to fx, which has 6 hosts now.\n"
    )
    assert manager("pool", "add", "fx", "a").out == "Nothing to do: fx has them already, and 6 hosts in all.\n"
    assert manager("pool", "remove", "fx", "a pc-[02-03]").out == (
        "Removed a,pc-[02-03] from fx, which has 3 hosts now.\n"
    )


def test_taking_out_a_host_that_is_not_in_is_an_error_and_takes_out_nothing(manager):
    manager("pool", "create", "fx", FIVE)
    refused = manager("pool", "remove", "fx", "pc-01", "pc-1")
    assert refused.status == 1
    assert refused.err == ("afpools: pc-1 is not in the pool 'fx', so nothing was taken out. Did you mean 'pc-01'?\n")
    assert "pc-[01-05]" in manager("pool", "show", "fx").out


def test_a_removal_repeated_under_its_id_gets_the_same_answer(manager):
    manager("pool", "create", "fx", FIVE)
    first = manager("pool", "remove", "fx", "pc-01", "--request-id", "r")
    assert manager("pool", "remove", "fx", "pc-01", "--request-id", "r") == first
    assert first.status == 0
    assert manager("pool", "remove", "fx", "pc-01").status == 1


def test_a_mistyped_pool_is_answered_with_the_one_that_was_meant(manager):
    manager("pool", "create", "fx", FIVE)
    for command in (
        ("pool", "show"),
        ("mask",),
        ("pool", "add", "HOST"),
        ("pool", "delete", "-y"),
        ("pool", "remove", "HOST"),
    ):
        words = [word for word in command if word != "HOST"]
        refused = manager(*words, "fz", *(["pc-01"] if "HOST" in command else []))
        assert (refused.status, refused.err) == (1, "afpools: There is no pool 'fz'. Did you mean 'fx'?\n")
    assert "look at the list of pools" in manager("pool", "show", "lighting").err


def test_a_pattern_takes_the_hosts_that_match_now(manager):
    manager("host", "register", FIVE, "gpu-[1-2]")
    assert manager("pool", "create", "fx", "--match", "GPU-*").out == "Created fx with 2 hosts.\n"
    assert manager("pool", "add", "fx", "gpu-9", "--match", "pc-0[12]", "--match", "*-05").out.startswith(
        "Added gpu-9,pc-[01-02,05] to fx"
    )
    assert manager("pool", "remove", "fx", "--match", "gpu-?").out.startswith("Removed gpu-[1-2,9] from fx")
    assert manager("pool", "remove", "fx", "--match", "gpu-?").err == (
        "afpools: No host of the pool 'fx' fits 'gpu-?'.\n"
    )
    assert "No host of the farm fits 'ws-*'" in manager("pool", "add", "fx", "--match", "ws-*").err
    assert "--match 'gpu-*'" in " ".join(manager("pool", "add", "fx", "gpu-*").err.split())
    assert manager("pool", "add", "fx").status == 2


def test_a_pool_is_renamed_updated_and_deleted(manager):
    manager("pool", "create", "fx", FIVE)
    assert manager("pool", "rename", "fx", "fx two").out == "Renamed fx to fx two.\n"
    assert manager("pool", "update", "fx two", "--colour", "#112233").out == "Updated fx two.\n"
    assert manager("pool", "delete", "fx two", given="n\n").status == 1
    assert manager("pool", "delete", "fx two").status == 1, "nobody is there to say yes"
    assert "fx two" in manager("pool", "list").out
    assert manager("pool", "delete", "fx two", "--yes").out == "Deleted fx two.\n"


def test_history_lists_who_changed_what(manager):
    manager("host", "register", "pc-09", FIVE)
    manager("pool", "create", "fx", FIVE, "--description", "Simulation")
    manager("pool", "update", "fx", "--description", "Fire")
    manager("pool", "rename", "fx", "fire")
    manager("pool", "remove", "fire", "pc-01")
    manager("pool", "delete", "fire", "-y")
    rows = [line.split("anna", 1)[1].strip() for line in lines(manager("pool", "history").out)[1:]]
    deleted, registered = (json.loads(manager("pool", "history", "--json").out)[at]["id"][-8:] for at in (0, -1))
    gone = "; cannot be undone: The pool was deleted by 'anna' on "
    assert [row.partition(gone)[:2] for row in rows] == [
        (f"delete fire: - pc-[02-05] {deleted}", ""),
        ("remove hosts fire: - pc-01", gone),
        ("rename fire: fx → fire", gone),
        ("update fx: description 'Simulation' → 'Fire'", gone),
        ("create fx: + pc-[01-05]; description 'Simulation'", gone),
        (f"register hosts: + pc-[01-05,09] {registered}", ""),
    ]
    assert len(json.loads(manager("pool", "history", "fire", "-n", 1, "--json").out)) == 1


def last_change(manager) -> str:
    """The Undo column of the first line of the history."""
    return manager("pool", "history", "-n", 1).out.splitlines()[1].split()[-1]


def test_a_change_is_taken_back_and_the_undo_too(manager):
    manager("pool", "create", "fx", FIVE, "--description", "Simulation")
    manager("pool", "remove", "fx", "pc-[01-02]")
    undone = manager("pool", "undo", last_change(manager))
    assert undone.out == "Undone: fx has 5 hosts now: + pc-[01-02].\n"
    again = undone.err.split()[-1]
    assert undone.err == f"To redo the change: afpools pool undo {again}\n"
    assert manager("pool", "undo", again).out == "Undone: fx has 3 hosts now: - pc-[01-02].\n"
    before = manager("pool", "show", "fx").out
    manager("pool", "delete", "fx", "-y")
    assert manager("pool", "undo", last_change(manager)).out == "Undone: fx has 3 hosts now: + pc-[03-05].\n"
    assert manager("pool", "show", "fx").out == before
    manager("pool", "rename", "fx", "fire")
    assert manager("pool", "undo", last_change(manager)).out == "Undone: fx is as before that change.\n"
    manager("pool", "create", "night")
    assert manager("pool", "undo", last_change(manager)).out == "Undone: night is gone.\n"
    manager("host", "register", "pc-09")
    assert manager("pool", "undo", last_change(manager)).out.startswith("Undone: the list of registered hosts has ")
    assert "pc-09" not in manager("host", "list").out


def test_a_change_that_cannot_be_undone_says_why_in_the_history_and_when_tried(manager):
    manager("pool", "create", "fx", FIVE)
    change = last_change(manager)
    manager("pool", "add", "fx", "pc-06")
    why = "The pool 'fx' is not as it was created. The last change since: hosts were added by 'anna'"
    assert f"cannot be undone: {why}" in manager("pool", "history").out
    refused = manager("pool", "undo", change)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith(f"afpools: {why}")
    assert "pc-[01-06]" in manager("pool", "show", "fx").out
    unknown = manager("pool", "undo", "nonsense")
    assert unknown.status == 1
    assert "There is no change 'nonsense' in the history" in unknown.err


def test_a_whole_id_works_and_an_ambiguous_end_does_not(manager, monkeypatch):
    manager("pool", "create", "fx")
    manager("pool", "create", "night")
    entries = json.loads(manager("pool", "history", "--json").out)
    assert manager("pool", "undo", entries[0]["id"]).out == "Undone: night is gone.\n"
    alike = [HistoryEntry(f"{first}12345678", "", "", "", "", {}, "", "") for first in "ab"]
    monkeypatch.setattr(Client, "history", lambda *_, **__: alike)
    refused = manager("pool", "undo", "12345678")
    assert refused.status == 1
    assert "a12345678, b12345678" in refused.err


def test_history_says_how_to_undo_only_if_something_can_be_undone(manager):
    manager("pool", "create", "fx")
    assert "afpools pool undo" in manager("pool", "history").err
    assert manager("pool", "history", "nix").err == ""


# --- hosts and masks ------------------------------------------------------------------------------------------------


def test_hosts_show_what_they_are_and_are_sorted_as_people_count(manager):
    manager("host", "register", "pc-10", "pc-2")
    manager("pool", "create", "fx", "pc-1")
    manager("pool", "create", "night", "pc-1", "pc-2")
    assert lines(manager("host", "list").out)[1:] == [
        "pc-1 only in pools fx, night",
        "pc-2 registered night",
        "pc-10 registered",
    ]
    assert manager("host", "register", "pc-2").out == "Nothing to do: already registered.\n"
    assert manager("host", "forget", "pc-[2,10]").out == "Forgot pc-[2,10].\n"
    assert "pc-10 is not registered by hand" in manager("host", "forget", "pc-10").err


@pytest.mark.parametrize(("option", "choices"), [("--style", "complement"), ("--type", "regex")])
def test_styles_and_types_of_masks_are_offered(manager, option, choices):
    wrong = manager("mask", "fx", option, "nonsense")
    assert wrong.status == 2
    assert choices in wrong.err
    assert choices in manager("mask", "--help").out


def test_a_mask_for_programs_has_everything(manager):
    manager("host", "register", FIVE)
    manager("pool", "create", "fx", "pc-01")
    made = json.loads(manager("mask", "fx", "--style", "complement", "--type", "regex", "--json").out)
    assert (made["mask_type"], made["style"], made["covers_future_hosts"]) == ("regex", "complement", True)


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pool", "show", "nix"), "There is no pool 'nix'"),
        (("mask", "nix"), "There is no pool 'nix'"),
        (("pool", "create", "fx"), "'fx' exists already"),
        (("pool", "rename", "fx", "night"), "'night' exists already"),
        (("pool", "add", "fx", "pc-[1"), "'pc-[1' is neither"),
        (("pool", "add", "fx", "pc-[1-99999999]"), "100,000"),
    ],
)
def test_a_refusal_is_one_line_and_exit_status_1(manager, arguments, said):
    manager("pool", "create", "fx", FIVE)
    manager("pool", "create", "night", FIVE)
    refused = manager(*arguments)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("afpools: ")
    assert refused.err.count("\n") == 1
    assert said in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("pool", "update", "fx"),
        ("pool", "add", "fx", ""),
        ("pool", "create", "fx", "--colour", "red"),
        ("pool", "crate", "fx"),
        ("pool", "undo"),
        ("pool", "import"),
        ("pool", "import", "file", "--native"),
        ("pool", "import", "--native", "--replace"),
        ("pool", "import", "file", "--yes"),
        ("pool", "import", "file", "--only", "/local"),
        ("mask",),
    ],
)
def test_a_command_that_makes_no_sense_has_exit_status_2(manager, arguments):
    assert manager(*arguments).status == 2


def test_a_mistyped_command_is_guessed_at(afpools):
    assert "Did you mean 'health'?" in afpools("helth").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("pool", "create", "fx"),
        ("host", "register", "pc-1"),
        ("pool", "history"),
        ("pool", "undo", "1"),
        ("pool", "import", "--native"),
    ],
)
def test_a_reader_is_told_which_role_is_needed(reader, arguments):
    refused = reader(*arguments)
    assert refused.status == 1
    assert "manager" in refused.err
    assert refused.err.count("\n") == 1


def test_without_a_broker_every_endpoint_is_named(place, manager):
    port = place.tls_port
    place.broker.stop()
    refused = manager("pool", "list")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("afpools: No broker answered.")
    assert f"tls://127.0.0.1:{port}" in refused.err


def test_without_a_profile_the_places_are_named(afpools, tmp_path):
    refused = afpools("pool", "list")
    assert refused.status == 1
    assert f"{tmp_path}/.config/afpools/profile.json: not there" in refused.err
    assert "Traceback" not in refused.err


# --- export and import ----------------------------------------------------------------------------------------------


def test_a_name_that_is_not_a_render_is_refused_with_advice(farm):
    refused = farm("pool", "create", "fx", "gpu-[01-02]")
    assert (refused.status, refused.out) == (1, "")
    assert " ".join(refused.err.split()) == (
        "afpools: gpu-[01-02] are not on the farm, which has gpu-[1-3]: did you mean gpu-[1-2]? "
        "If the machine is not set up yet, add --new."
    )
    farm("pool", "create", "fx", "gpu-1")
    assert "add --new" in farm("pool", "add", "fx", "gpu-9").err
    assert farm("pool", "add", "fx", "gpu-9", "--new").out == "Added gpu-9 to fx, which has 2 hosts now.\n"
    twin = farm("pool", "add", "fx", "GPU-1.studio.lan", "--new")
    assert (twin.status, "is in the pool 'fx' already, as gpu-1" in " ".join(twin.err.split())) == (1, True)


def test_without_afserver_the_answer_says_that_names_were_not_checked(manager):
    done = manager("pool", "create", "fx", "pc-01")
    assert (done.status, done.out) == (0, "Created fx with 1 host.\n")
    assert " ".join(done.err.split()).startswith("The names could not be checked: this broker has no afserver")
    assert manager("pool", "add", "fx", "pc-02", "--new").err == ""


# --- how it looks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["[red]x", ":smile:", "back\\", "[/]", "день", "a  b"])
def test_names_are_printed_as_they_are(manager, name):
    manager("pool", "create", name, "pc-01", "--description", f"for {name}")
    for arguments in (("list",), ("show", name), ("history",)):
        assert name in manager("pool", *arguments).out
    assert name in manager("host", "list").out
    assert name in manager("mask", f"{name}!").err
    assert manager("pool", "delete", name, "-y").out == f"Deleted {name}.\n"


def test_a_description_does_not_control_the_terminal(manager):
    manager("pool", "create", "fx", "--description", "one\ntwo\x1b[2J")
    out = manager("pool", "list").out
    assert "\x1b" not in out
    assert "one two·[2J" in out


def test_without_a_terminal_a_row_is_a_line(manager, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    manager("pool", "create", "fx", ",".join(f"host-{chr(97 + n % 26)}{n}-x" for n in range(200)))
    manager("pool", "update", "fx", "--description", "long " * 50)
    assert len(manager("pool", "list").out.splitlines()) == 2
    assert len(manager("pool", "history").out.splitlines()) == 3
    assert all(line == line.rstrip() for line in manager("host", "list").out.splitlines())


@pytest.mark.heavy
def test_at_a_narrow_terminal_no_line_is_wider_and_times_stay_whole(place: Studio, manager, tmp_path: Path):
    manager("pool", "create", "fx", "pc-[01-40]", "--description", "long " * 30)
    env = environment(tmp_path, AFPOOLS_PROFILE=str(place.profile("anna", Role.MANAGER)))
    with terminal("pool", "history", env=env) as shown:
        assert shown.finish() == 0
        rows = re.sub(r"\x1b\[[0-9;]*m", "", shown.shown).splitlines()
        assert all(len(row) <= 80 for row in rows)
        assert len(rows[1].split("  ")[0]) == len("2027-01-01 00:00:00")
        assert last_change(manager) in shown.shown, "an id in two lines cannot be copied"


@pytest.mark.heavy
def test_colours_are_for_terminals_only(place: Studio, manager, tmp_path: Path):
    manager("pool", "create", "fx", "--colour", "#ff8800")
    env = environment(tmp_path, AFPOOLS_PROFILE=str(place.profile("anna", Role.MANAGER)))
    with terminal("pool", "list", env=env) as shown:
        shown.finish()
        assert "\x1b[" in shown.shown
    assert "\x1b" not in manager("pool", "list").out


@pytest.mark.parametrize("arguments", [("pool", "list"), ("pool", "list", "--json"), ("mask", "fx"), ("host", "list")])
def test_a_reader_of_a_pipe_may_leave(place: Studio, manager, tmp_path: Path, arguments):
    manager("host", "register", "pc-[0001-3000]")
    manager("pool", "create", "fx", "pc-[0001-1000]")
    env = environment(tmp_path, AFPOOLS_PROFILE=str(place.profile("anna", Role.MANAGER)))
    with subprocess.Popen([AFPOOLS, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


# --- changes whose outcome is unknown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("pool", "create", "new", "pc-01", "--new"),
        ("pool", "rename", "fx", "vfx"),
        ("pool", "update", "fx", "--description", "Simulation"),
        ("pool", "delete", "fx", "--yes"),
        ("pool", "add", "fx", "pc-09", "--new"),
        ("pool", "remove", "fx", "pc-01"),
        ("host", "register", "pc-09"),
        ("host", "forget", "pc-05"),
    ],
)
def test_a_change_whose_outcome_is_unknown_is_finished_by_repeating_it(manager, place, monkeypatch, command):
    manager("host", "register", FIVE)
    manager("pool", "create", "fx", "pc-[01-02]")
    before = len(json.loads(manager("pool", "history", "--json").out))
    apply = place.broker.store.apply

    def lose(change: Change) -> None:
        apply(change)
        raise StoreUnavailable("The database did not confirm it.")

    with monkeypatch.context() as lost:
        lost.setattr(place.broker.store, "apply", lose)
        lost.setattr("afpools.calls._FIRST_PAUSE", 1e9)  # no broker is asked twice, so that nothing waits
        failed = manager(*command)
    assert failed.status == 1
    assert failed.err.startswith("afpools: It is not known whether the change was made.")
    assert "not made" not in failed.err
    repeat = re.search(r"Run the same command again with (.*): the change is made once", failed.err)
    assert repeat
    repeated = manager(*command, *repeat[1].split())
    assert (repeated.status, repeated.err) == (0, "")
    assert len(json.loads(manager("pool", "history", "--json").out)) == before + 1


def test_an_interrupted_change_is_not_reported_as_undone(manager, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "create_pool", interrupt)
    stopped = manager("pool", "create", "fx")
    assert stopped.status == 1
    assert stopped.err.startswith("afpools: Interrupted: it is not known whether the change was made.\n")


def test_a_deletion_at_a_revision_does_not_ask_and_does_not_touch_what_has_changed(manager):
    manager("pool", "create", "fx", "pc-01")
    revision = json.loads(manager("pool", "show", "fx", "--json").out)["revision"]
    manager("pool", "add", "fx", "pc-02")
    stale = manager("pool", "delete", "fx", "--if-revision", revision)
    assert stale.status == 1
    assert "has changed since you read it" in stale.err
    revision = json.loads(manager("pool", "show", "fx", "--json").out)["revision"]
    assert manager("pool", "delete", "fx", "--if-revision", revision).out == "Deleted fx.\n"
    assert manager("pool", "delete", "fx", "--request-id", "x").status == 2
