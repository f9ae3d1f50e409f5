"""The add-on in real Blenders, installed from its zip, with a real broker over TLS and a recording afserver."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.afserver import AfServer, renders_answer
from tests.clients.large_pools import LARGE, TOO_LARGE, assert_kept_on_large, make_masks, make_pools
from tests.clients.scripted_broker import Script, ScriptedBroker
from tests.clients.scripted_broker import Studio as ScriptedStudio
from tests.studio import Studio
from tests.studio import studio as run_studio

from afpools import Client, Profile
from afpools.fence_note import is_of, parse_note
from afpools_broker.protocol import Role

pytestmark = pytest.mark.heavy

Start = Callable[..., Any]


def manager(studio: Studio) -> Client:
    return Client(Profile.load(str(studio.profile("boss", Role.MANAGER))))


def copies(tmp_path: Path) -> list[Path]:
    """The temporary scenes that the submitter has saved."""
    return list((tmp_path / "home").glob("shot_010.*.blend"))


# --- submitting ---


def test_a_submitted_job_is_kept_on_the_chosen_pool(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    assert blender.wait_for_pools() == ["fx", "gpu"]
    blender.choose(pool="fx")
    assert blender.submit() == {"outcome": ["FINISHED"], "error": ""}
    (job,) = farm.jobs
    with manager(open_studio) as client:
        mask = client.exclude_mask("fx")
    assert job["hosts_mask_exclude"] == mask.mask
    assert job["hosts_mask_type"] == mask.mask_type == "regex"
    note = parse_note(job["custom_data"])
    assert note is not None
    assert (note.pool, note.revision) == ("fx", mask.revision)
    assert is_of(note, job["hosts_mask_exclude"], job["hosts_mask_type"])


def test_masks_that_the_artist_typed_apply_beside_the_pool(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.set_scene(hostsmask="pc", hostsmaskexclude="pc-01")
    blender.choose(pool="fx")
    assert blender.submit()["outcome"] == ["FINISHED"]
    with manager(open_studio) as client:
        mask = client.exclude_mask("fx", exclude="pc-01")
    assert farm.jobs[0]["hosts_mask_exclude"] == mask.mask
    assert farm.jobs[0]["hosts_mask"] == "(?:pc).*"


@pytest.mark.parametrize("field", ["hostsmask", "hostsmaskexclude"])
def test_a_mask_that_cgru_would_leave_out_is_refused(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, field: str
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.set_scene(**{field: "pc-0[1"})
    blender.choose(pool="fx")
    assert re.search("CGRU cannot read the (hosts|exclude) mask 'pc-0\\[1'", blender.submit()["error"])
    assert farm.jobs == []


def test_a_mask_that_no_command_line_could_carry_is_sent_with_the_job(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, tmp_path: Path
) -> None:
    with manager(open_studio) as client:
        make_pools(client)
        client.register_hosts([*LARGE, *TOO_LARGE])
        make_masks(client)
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.wait_for_pools()
    blender.choose(pool="large")
    assert blender.submit()["outcome"] == ["FINISHED"]
    (job,) = farm.jobs
    assert_kept_on_large(job)
    saved = copies(tmp_path)
    blender.choose(pool="too large")
    assert "bytes are more than afserver accepts" in blender.submit()["error"]
    assert (len(farm.jobs), copies(tmp_path)) == (1, saved)


def test_a_job_without_a_pool_is_the_stock_submitters(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.choose(pool="fx")
    blender.choose(pool="")
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert not {"hosts_mask_exclude", "hosts_mask_type", "custom_data"} & set(farm.jobs[0])


def test_with_the_broker_off_a_pool_is_refused_before_anything_is_saved_and_no_pool_goes_through(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, tmp_path: Path
) -> None:
    profile = open_studio.profile("anna")
    open_studio.broker.stop()
    blender = start_blender(cgru, profile)
    assert blender.enable(name="cgru_tools")
    assert "[No pool]" in blender.draw(cls="CGRU_props")
    blender.choose(pool="fx")
    refused = blender.submit()
    assert "The job was not sent: it cannot be kept on the pool 'fx'. No broker answered." in refused["error"]
    assert refused["outcome"] == ["CANCELLED"]
    assert "[fx, not checked yet]" in blender.draw(cls="CGRU_props")
    assert (farm.jobs, copies(tmp_path)) == ([], [])
    blender.choose(pool="")
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert (len(farm.jobs), len(copies(tmp_path))) == (1, 1)


def test_a_deleted_pool_is_shown_as_missing_and_blocks_submission(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, tmp_path: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.choose(pool="fx")
    with manager(open_studio) as client:
        client.delete_pool("fx")
    assert blender.wait_for_pools() == ["gpu"]
    shown = blender.draw(cls="CGRU_props")
    assert "! [fx, missing]" in shown
    assert any("fx is missing" in line for line in shown)
    assert "'fx'" in blender.submit()["error"]
    assert (farm.jobs, copies(tmp_path)) == ([], [])


def test_a_pool_that_can_run_nothing_gets_a_warning_and_the_job_is_sent(
    start_blender: Start, farm: AfServer, tmp_path: Path, cgru: Path
) -> None:
    farm.renders = renders_answer(["pc-01", "pc-02"])
    with (
        run_studio(tmp_path / "with afserver", farm={"server": f"127.0.0.1:{farm.address[1]}"}) as place,
        manager(place) as client,
    ):
        client.create_pool("fx", ["pc-01", "old-1"], new_hosts=True)
        client.create_pool("night", ["old-1"], new_hosts=True)
        blender = start_blender(cgru, place.profile("anna"))
        assert blender.enable(name="cgru_tools")
        blender.wait_for_pools()
        assert blender.draw(cls="AFPOOLS_MT_pools")[1:] == ["<fx, 1 of 1 online>", "<night, no machine on the farm>"]
        blender.choose(pool="night")
        shown = blender.draw(cls="CGRU_props")
        assert "[night, no machine on the farm]" in shown
        assert any(line.startswith("No host of the pool 'night'") for line in shown)
        assert blender.submit() == {"outcome": ["FINISHED"], "error": ""}
        assert "Warning: No host of the pool 'night' is a machine of this farm" in blender.log.read_text()
        assert len(farm.jobs) == 1


def test_a_pool_that_an_old_list_lacks_is_not_called_missing(start_blender: Start, open_studio: Studio) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    blender.wait_for_pools()
    with manager(open_studio) as client:
        client.create_pool("new", ["pc-02"])
    open_studio.broker.stop()
    blender.refresh()
    blender.choose(pool="new")
    shown = blender.draw(cls="RENDER_PT_afpools")
    assert "[new, not checked yet]" in shown
    assert any(line.startswith("Pools of a moment ago. No broker answered") for line in shown)


def test_a_job_from_another_add_on_also_gets_the_pool_or_is_not_sent(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.choose(pool="gpu")
    assert blender.send_by_hand()["sent"]
    assert farm.jobs[0]["hosts_mask_type"] == "regex"
    open_studio.broker.stop()
    assert "PoolNotApplied" in blender.send_by_hand()["error"]
    assert len(farm.jobs) == 1


def test_with_an_unexpected_af_a_pool_is_refused(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, tmp_path: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.break_af()
    blender.choose(pool="fx")
    assert "has no Job.send as CGRU's has" in blender.submit()["error"]
    assert (farm.jobs, copies(tmp_path)) == ([], [])


def test_a_send_replaced_by_somebody_else_also_gets_the_pool(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.replace_send()
    blender.choose(pool="fx")
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert farm.jobs[0]["hosts_mask_type"] == "regex"


def test_with_an_unexpected_operator_the_panel_says_so_and_the_job_is_still_kept_on_its_pool(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.break_operator()
    blender.choose(pool="fx")
    assert "add-on is not known" in " ".join(blender.draw(cls="CGRU_props"))
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert farm.jobs[0]["hosts_mask_type"] == "regex"
    open_studio.broker.stop()
    assert "The job was not sent" in blender.submit()["error"]
    assert len(farm.jobs) == 1


# --- the zip ---


def test_blenders_own_validation_finds_nothing_wrong_with_the_zip(python: Path, bundle: Path) -> None:
    (program,) = python.parents[1].glob("lib/python*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    done = subprocess.run([python, program, "validate", bundle], capture_output=True, text=True, check=False)
    assert "Success" in done.stdout, done.stdout + done.stderr
    assert "rror" not in done.stdout


# --- living with Blender, and with CGRU's add-on ---


@pytest.mark.parametrize("first", ["CGRU's", "ours"])
def test_the_order_in_which_the_add_ons_are_enabled_does_not_matter(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, first: str, tmp_path: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    if first == "CGRU's":
        blender.disable(name="bl_ext.user_default.afanasy_pools")
    assert blender.enable(name="cgru_tools")
    if first == "CGRU's":
        assert blender.enable(name="bl_ext.user_default.afanasy_pools")
        blender.use_profile(folder=str(open_studio.profile("anna")))
    assert not blender.own_panel_shown()
    assert "[No pool]" in blender.draw(cls="CGRU_props")
    blender.set_pool(pool="nowhere")
    assert "'nowhere'" in blender.submit()["error"]
    assert (farm.jobs, copies(tmp_path)) == ([], [])


def test_cgrus_add_on_can_go_and_come_back(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, tmp_path: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    for _ in range(2):
        assert blender.own_panel_shown()
        assert "[No pool]" in blender.draw(cls="RENDER_PT_afpools")
        assert blender.enable(name="cgru_tools")
        assert not blender.own_panel_shown()
        assert blender.draw(cls="CGRU_props").count("[No pool]") == 1
        blender.set_pool(pool="nowhere")
        assert "'nowhere'" in blender.submit()["error"]
        assert (farm.jobs, copies(tmp_path)) == ([], [])
        blender.set_pool(pool="")
        blender.disable(name="cgru_tools")


def test_enabled_and_disabled_again_it_leaves_nothing_behind(
    start_blender: Start, open_studio: Studio, cgru: Path, farm: AfServer
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"))
    assert blender.enable(name="cgru_tools")
    blender.send_by_hand()
    for _ in range(2):
        assert {"RENDER_PT_afpools", "AFPOOLS_MT_pools", "choose", "scene", "finder", "handler", "af"} <= set(
            blender.leftovers()
        )
        blender.disable(name="bl_ext.user_default.afanasy_pools")
        assert blender.leftovers() == []
        assert blender.submit()["outcome"] == ["FINISHED"]
        assert blender.enable(name="bl_ext.user_default.afanasy_pools")
    assert "Traceback" not in blender.log.read_text()


def test_enabled_on_the_command_line_it_works_as_usual(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path, tmp_path: Path
) -> None:
    (tmp_path / "home/.config").mkdir(parents=True)
    (tmp_path / "home/.config/afpools").symlink_to(open_studio.profile("anna"))
    blender = start_blender(cgru)
    assert blender.enable(name="cgru_tools")
    blender.disable(name="bl_ext.user_default.afanasy_pools")
    assert blender.enable_from_the_command_line(name="bl_ext.user_default.afanasy_pools")
    assert "[No pool]" in blender.draw(cls="CGRU_props")
    blender.choose(pool="fx")
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert farm.jobs[0]["hosts_mask_type"] == "regex"


def test_of_two_copies_one_works_and_the_other_takes_over_when_that_is_disabled(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    """The extension of an artist, and the classic add-on that the studio has put into CGRU."""
    blender = start_blender(cgru, open_studio.profile("anna"), classic_copy=True)
    assert blender.enable(name="cgru_tools")
    assert blender.enable(name="afanasy_pools")
    assert blender.draw(cls="CGRU_props").count("[No pool]") == 1
    assert "Another copy" in " ".join(blender.draw(cls="preferences", of="afanasy_pools"))
    blender.choose(pool="fx")
    assert blender.submit()["outcome"] == ["FINISHED"]
    blender.disable(name="bl_ext.user_default.afanasy_pools")
    blender.use_profile(folder=str(open_studio.profile("anna")), of="afanasy_pools")
    assert blender.draw(cls="CGRU_props").count("[fx, 2 hosts]") == 1
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert [job["hosts_mask_type"] for job in farm.jobs] == ["regex", "regex"]
    blender.disable(name="afanasy_pools")
    assert blender.leftovers() == []
    assert "Traceback" not in blender.log.read_text()


@pytest.mark.parametrize("file", ["afpools/pool_menu.py", "session.py"])
def test_a_newer_version_installed_over_this_one_is_loaded_afresh_with_the_library(
    start_blender: Start, open_studio: Studio, file: str
) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    assert blender.install_newer(file=file, text="\nNEWER = True\n")
    assert blender.has(module=file[: -len(".py")].replace("/", "."), name="NEWER")
    blender.use_profile(folder=str(open_studio.profile("anna")))
    assert blender.wait_for_pools() == ["fx", "gpu"]
    assert "[No pool]" in blender.draw(cls="RENDER_PT_afpools")


def test_the_pool_is_saved_with_the_scene(start_blender: Start, tmp_path: Path) -> None:
    blender = start_blender()
    blender.choose(pool="fx")
    blender.save(file=str(tmp_path / "kept.blend"))
    blender.new_file()
    assert blender.chosen() == ""
    blender.open_file(file=str(tmp_path / "kept.blend"))
    assert blender.chosen() == "fx"


# --- the interface ---


def test_the_chooser_lists_the_pools_with_their_hosts_and_no_pool_first(
    start_blender: Start, open_studio: Studio
) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    blender.wait_for_pools()
    assert blender.draw(cls="AFPOOLS_MT_pools") == ["<No pool>", "<fx, 2 hosts>", "<gpu, 1 host>"]
    blender.choose(pool="fx")
    shown = blender.draw(cls="RENDER_PT_afpools")
    assert shown[:3] == ["Render Pool:", "[fx, 2 hosts]", "<afpools.refresh>"]


def test_many_pools_stand_in_columns_by_group_and_can_be_searched(start_blender: Start, open_studio: Studio) -> None:
    with Client(Profile.load(str(open_studio.profile("boss", Role.MANAGER)))) as manager:
        for number in range(1, 51):
            for group in ("fx/", "light/", "shot-"):
                manager.create_pool(f"{group}{number}", ["pc-01"], f"Number {number}")
    blender = start_blender(profile=open_studio.profile("anna"))
    assert len(blender.wait_for_pools()) == 152
    shown = blender.draw(cls="AFPOOLS_MT_pools")
    assert shown[0] == "<Search…>"
    names = [entry.strip("<>").split(",")[0] for entry in shown]
    # As people count, and in groups, with the heading again where a group goes on in the next column.
    assert names.index("shot-2") < names.index("shot-10") < names.index("fx/2") < names.index("fx/10")
    assert names.index("fx/50") < names.index("light") < names.index("light/1")
    assert names.count("light") > 1
    assert blender.search(text="light/4,") == [[":light/4", "light/4, 1 host", "Number 4"]]
    assert blender.chosen() == "light/4"
    assert len(blender.search(text="light/4")) == 11
    assert blender.search(text="No pool")[0][0] == ":"
    assert blender.chosen() == ""


def test_the_search_chooses_what_was_clicked_although_the_list_changed_meanwhile(
    start_blender: Start, open_studio: Studio
) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    blender.wait_for_pools()
    assert [blender.search_while_the_list_changes(pool=pool) for pool in ("fx", "gpu", "fx")] == ["fx", "gpu", "fx"]


def test_the_menu_offers_a_chosen_pool_that_is_missing(start_blender: Start, open_studio: Studio) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    blender.wait_for_pools()
    blender.set_pool(pool="gone")
    assert blender.draw(cls="AFPOOLS_MT_pools")[-1] == "<gone, missing>"


def test_a_few_pools_need_no_search(start_blender: Start, open_studio: Studio) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    blender.wait_for_pools()
    assert blender.draw(cls="AFPOOLS_MT_pools") == ["<No pool>", "<fx, 2 hosts>", "<gpu, 1 host>"]


def test_drawing_does_not_use_the_network_while_the_broker_is_silent(
    start_blender: Start, start: Callable[..., ScriptedBroker], studio: ScriptedStudio
) -> None:
    never: Script = lambda talk, request: None  # noqa: E731
    profile = studio.profile(start(never).url)
    blender = start_blender(profile=Path(profile.folder))
    assert blender.draw_a_hundred_times(cls="RENDER_PT_afpools") == {"waiting": True, "network": []}


def test_the_timer_runs_only_while_an_answer_is_pending(
    start_blender: Start, open_studio: Studio, start: Callable[..., ScriptedBroker], studio: ScriptedStudio
) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    blender.draw(cls="RENDER_PT_afpools")
    blender.wait_for_pools()
    assert blender.timer() == {"set": True, "again": None}


def test_the_connection_test_says_who_we_are_or_what_is_wrong(start_blender: Start, open_studio: Studio) -> None:
    blender = start_blender(profile=open_studio.profile("anna"))
    good = blender.test_connection()
    assert (good["running"], good["succeeded"]) == (False, True)
    assert "as anna (reader); 2 pools." in good["text"]
    assert any("as anna (reader)" in line for line in blender.draw(cls="preferences"))
    open_studio.broker.stop()
    bad = blender.test_connection()
    assert (bad["running"], bad["succeeded"]) == (False, False)
    assert bad["text"].startswith("No broker answered.")
    blender.use_profile(folder="/nowhere/at/all")
    assert blender.test_connection()["text"].startswith("The profile /nowhere/at/all is not a folder")


def test_without_network_access_in_blender_the_network_is_not_used_and_a_pool_is_refused(
    start_blender: Start, open_studio: Studio, farm: AfServer, cgru: Path
) -> None:
    blender = start_blender(cgru, open_studio.profile("anna"), online=False)
    assert blender.enable(name="cgru_tools")
    assert "<Allow Online Access>" in blender.draw(cls="CGRU_props")
    assert blender.draw_a_hundred_times(cls="CGRU_props") == {"waiting": False, "network": []}
    blender.choose(pool="fx")
    assert "allow online access" in blender.submit()["error"]
    blender.allow_online(allowed=True)
    assert blender.submit()["outcome"] == ["FINISHED"]
    assert len(farm.jobs) == 1
