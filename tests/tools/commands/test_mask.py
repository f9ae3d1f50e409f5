"""`afpools mask --explain` and `--check`: what a mask does on the farm, in words a TD can act on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.command import environment, terminal
from tests.studio import Studio

from afpools_broker.protocol import Role

FIVE = "pc-[01-05]"


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line]


@pytest.fixture
def farm(manager):
    """Seven hosts, as on the farm that AFANASY.md's table was measured on, and two pools of them."""
    manager("host", "register", FIVE, "pc-1", "pc-10")
    manager("pool", "create", "fx", "pc-01", "pc-03")
    manager("pool", "create", "ten", "pc-10")
    return manager


# --- --explain ------------------------------------------------------------------------------------------------------


def test_a_mask_that_is_correct_in_both_types_is_reported_as_such(manager):
    manager("host", "register", FIVE)
    manager("pool", "create", "fx", "pc-01", "pc-03")
    shown = manager("mask", "fx", "--explain")
    assert shown.status == 0
    assert lines(shown.out) == [
        "Pool fx, 2 of 5 known hosts",
        "Exclude mask pc-02|pc-04|pc-05",
        "Mask type either: both types read this mask alike",
        "Style list; hosts that register later are not kept out",
        "In pool regex find Hosts",
        "yes runs runs 2 pc-[01,03]",
        "no kept out kept out 3 pc-[02,04-05]",
        "regex: right on all 5 hosts",
        "find: right on all 5 hosts",
    ]


def test_a_mask_of_the_wrong_type_shows_what_goes_wrong(farm):
    shown = lines(farm("mask", "ten", "--explain").out)
    assert shown[2] == "Mask type regex, no other"
    assert shown[4:] == [
        "In pool regex find Hosts",
        "yes runs WRONG: kept out 1 pc-10",
        "no kept out kept out 6 pc-[1,01-05]",
        "regex: right on all 7 hosts",
        "find: WRONG on 1 of 7 hosts. Set hosts_mask_type to regex.",
    ]


def test_a_complement_as_find_lets_everything_run(farm):
    shown = lines(farm("mask", "fx", "--explain", "--style", "complement").out)
    assert "Exclude mask (?!pc-0[13]$).*" in shown
    assert "Style complement; hosts that register later are kept out too" in shown
    assert "no kept out WRONG: runs 5 pc-[1,02,04-05,10]" in shown
    assert shown[-1] == "find: WRONG on 5 of 7 hosts. Set hosts_mask_type to regex."


def test_a_mask_that_only_find_reads_correctly_says_so(manager):
    manager("host", "register", "gpu-[001-100]", "pc-[001-100]")
    manager("pool", "create", "pc", "pc-[001-100]")
    shown = lines(manager("mask", "pc", "--explain", "--style", "compact", "--type", "find").out)
    assert "Mask type find, no other" in shown
    assert shown[-2:] == [
        "regex: WRONG on 100 of 200 hosts. Set hosts_mask_type to find.",
        "find: right on all 200 hosts",
    ]


def test_two_thousand_hosts_stay_readable(manager):
    manager("host", "register", "render-[0001-2000]")
    manager("pool", "create", "fx", "render-[0100-0199]")
    shown = manager("mask", "fx", "--explain").out
    assert "yes runs runs 100 render-[0100-0199]" in lines(shown)
    assert len(shown) < 2000


def test_a_mask_that_is_long_is_cut(manager):
    manager("host", "register", "render-[001-300]")
    manager("pool", "create", "fx", "render-001")
    assert "characters)" in lines(manager("mask", "fx", "--explain").out)[1]


def test_programs_get_each_host(farm):
    shown = json.loads(farm("mask", "ten", "--explain", "--json").out)
    assert (shown["pool"], shown["mask_type"]) == ("ten", "regex")
    assert shown["regex"] == {
        "compiles": True,
        "runs": ["pc-10"],
        "kept_out": ["pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-1"],
        "right": True,
        "wrong": [],
    }
    assert (shown["find"]["right"], shown["find"]["wrong"], shown["find"]["runs"]) == (False, ["pc-10"], [])


def test_a_pool_without_a_mask_is_not_explained(farm):
    farm("pool", "create", "empty")
    refused = farm("mask", "empty", "--explain")
    assert (refused.status, refused.out) == (1, "")
    assert "no hosts" in refused.err


# --- --check --------------------------------------------------------------------------------------------------------

NAIVE = "pc-01|pc-02|pc-03|pc-04|pc-05|pc-1"
ALL_BUT_THE_SEED = "pc-1|pc-10|pc-02|pc-04|pc-05"


@pytest.mark.parametrize(
    ("pool", "pattern", "kind", "status", "said"),
    [
        ("fx", ALL_BUT_THE_SEED, "regex", 0, "regex: right on all 7 hosts"),
        ("fx", "(?!(?:pc-01|pc-03)$).*", "regex", 1, "It needs hosts_mask_type regex."),
        ("fx", "pc-02|pc-04|pc-05", "find", 1, "It lets the job run on 2 hosts outside 'fx'."),
        ("ten", NAIVE, "find", 1, "It keeps the job off 1 host of 'ten'."),
        ("ten", NAIVE, "find", 1, "'pc-1' excludes 'pc-10' too"),
        ("ten", NAIVE, "find", 1, "It excludes every host: the job would wait forever."),
        ("ten", NAIVE, "regex", 1, "regex: right on all 7 hosts"),
        ("fx", "pc-0[245]", "find", 1, "This looks like a regex"),
        ("fx", "pc-0[245]", "find", 1, "find: WRONG on 5 of 7 hosts"),
        ("fx", "pc-0[24", "regex", 1, "regex: WRONG on 5 of 7 hosts, because afserver cannot compile it"),
        ("fx", "|".join(f"render-{n:05d}" for n in range(9000)), "regex", 1, "libstdc++ allows 100,000"),
        ("fx", "PC-02", "regex", 1, "In lower case it would"),
        ("fx", r"(pc)-\1", "regex", 1, "regex: unknown effect"),
    ],
)
def test_the_traps_are_seen(farm, pool, pattern, kind, status, said):
    shown = farm("mask", pool, "--check", pattern, "--type", kind)
    assert shown.status == status
    assert said in shown.out


def test_without_a_pool_the_effect_of_a_mask_is_shown(farm):
    shown = farm("mask", "--check", "pc-02|pc-04", "--type", "find")
    assert (shown.status, shown.err) == (0, "")
    assert lines(shown.out) == [
        "Exclude mask pc-02|pc-04",
        "Mask type find",
        "find Hosts",
        "kept out 2 pc-[02,04]",
        "runs 5 pc-[1,01,03,05,10]",
        "find: no problems found",
    ]


def test_programs_get_what_a_mask_does(farm):
    shown = farm("mask", "ten", "--check", "pc-1", "--type", "find", "--json")
    assert shown.status == 1
    assert json.loads(shown.out) == {
        "mask": "pc-1",
        "mask_type": "find",
        "pool": "ten",
        "compiles": True,
        "runs": ["pc-01", "pc-02", "pc-03", "pc-04", "pc-05"],
        "kept_out": ["pc-1", "pc-10"],
        "right": False,
        "wrong": ["pc-01", "pc-02", "pc-03", "pc-04", "pc-05", "pc-10"],
        "warnings": [
            "'pc-1' excludes 'pc-10' too, because find goes by the beginning of a name.",
            "It keeps the job off 1 host of 'ten'.",
            "It lets the job run on 5 hosts outside 'ten'.",
        ],
    }
    unknown = json.loads(farm("mask", "--check", r"(pc)-\1", "--type", "regex", "--json").out)
    assert (unknown["compiles"], unknown["runs"], unknown["kept_out"]) == (None, None, None)


def test_without_hosts_there_is_nothing_to_try_it_on(manager):
    shown = manager("mask", "--check", "pc-01", "--type", "find")
    assert shown.status == 1
    assert "No hosts are known yet" in shown.out


def test_a_pool_to_compare_with_must_be_there(farm):
    refused = farm("mask", "nix", "--check", "pc-01", "--type", "find")
    assert (refused.status, refused.out) == (1, "")
    assert "There is no pool 'nix'" in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--check", "x"), "--type"),
        (("--check", "x", "--type", "find", "--type", "regex"), "--type"),
        (("fx", "--check", "x", "--type", "find", "--explain"), "--check"),
        (("fx", "--check", "x", "--type", "find", "--style", "list"), "--check"),
        (("--check", "pc-\udcfc", "--type", "find"), "UTF-8"),
        (("--explain",), "POOL"),
        ((), "POOL"),
    ],
)
def test_a_senseless_command_line_has_exit_status_2(manager, arguments, said):
    refused = manager("mask", *arguments)
    assert (refused.status, refused.out) == (2, "")
    assert said in refused.err


# --- how it looks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["[red]x[/]", ":smile:", "[/]", "back\\"])
def test_patterns_are_printed_as_they_are(farm, pattern):
    assert (
        f"Exclude mask {pattern}\n" in "\n".join(lines(farm("mask", "--check", pattern, "--type", "find").out)) + "\n"
    )


def test_a_pattern_does_not_control_the_terminal(farm):
    assert "pc-01 ·[2J" in farm("mask", "--check", "pc-01\n\x1b[2J", "--type", "find").out


@pytest.mark.heavy
@pytest.mark.parametrize("columns", [80, 200])
def test_at_a_terminal_names_are_broken_between_names_and_what_is_wrong_is_red(
    place: Studio, manager, tmp_path: Path, columns: int
):
    manager("host", "register", "gpu-[0001-0400]")
    manager("pool", "create", "fx", ",".join(f"gpu-{n:04}" for n in range(3, 400, 7)))
    env = environment(tmp_path, AFPOOLS_PROFILE=str(place.profile("anna", Role.MANAGER)))
    with terminal("mask", "fx", "--explain", "--style", "complement", env=env, columns=columns) as shown:
        assert shown.finish() == 0
        assert "\x1b[1;31mWRONG: runs\x1b[0m" in shown.shown
        rows = re.sub(r"\x1b\[[0-9;]*m", "", shown.shown).splitlines()
    assert all(len(row) <= columns for row in rows)
    start = next(row for row in rows if row.startswith("In pool")).index("Hosts") + len("Hosts   ")
    names = [row[start:].rstrip() for row in rows if row[:start].isspace()]
    assert names
    assert all(re.fullmatch(r"[0-9,-]+[,\]]", name) for name in names)
