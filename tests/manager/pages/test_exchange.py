"""The Pool Manager in a browser: import and export."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from afpools import Client

from ..browser import picture
from ..conftest import Gate
from .conftest import go

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


def test_afanasy_s_own_pools_are_shown_and_imported(page: Page, elsewhere: Client) -> None:
    elsewhere.create_pool("local/gpu", ["gpu-[1-10]"])
    go(page, "Import, export")
    card = page.get_by_role("article", name="Afanasy's own pools")
    card.get_by_role("button", name="Show them").click()
    expect(card.get_by_role("listitem")).to_have_count(2)
    expect(card.get_by_role("listitem").filter(has_text="/local/gpu")).to_contain_text("has all 10 hosts already")
    expect(card.get_by_role("listitem").filter(has_text="/local/cpu")).to_contain_text("new, with 20 hosts")
    picture(page, "import-native")
    card.get_by_role("button", name="Import 1 pool").click()
    expect(page.get_by_text("Imported 1 pool of Afanasy")).to_be_visible()
    assert len(elsewhere.get_pool("local/cpu").hosts) == 20


@pytest.mark.parametrize("kind", ["JSON", "CSV", "MongoDB"])
def test_pools_are_exported_and_imported_again(page: Page, elsewhere: Client, tmp_path: Path, kind: str) -> None:
    go(page, "Import, export")
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    before = elsewhere.get_pool("fx")
    elsewhere.delete_pool("fx")
    elsewhere.add_hosts("gpu", ["pc-20"])
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("listitem")).to_have_text(["fx: create with 10 hosts"])
    card.get_by_role("button", name="Also remove what is not in the file").click()
    expect(card.get_by_role("listitem")).to_have_text(["fx: create with 10 hosts", "gpu: - pc-20"])
    picture(page, f"import-{kind.lower()}")
    card.get_by_role("button", name="Make 2 changes").click()
    expect(page.get_by_text(f"Imported {file.name}: 2 changes")).to_be_visible()
    assert elsewhere.get_pool("fx")._replace(age=before.age) == before
    assert "pc-20" not in elsewhere.get_pool("gpu").hosts


def test_an_import_shows_beforehand_which_names_are_not_on_the_farm(
    page: Page, elsewhere: Client, tmp_path: Path
) -> None:
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\ncomp,pc-1\nfx,pc-09\nFX ,pc-01\nnight,PC-05\n")
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    refusal = card.get_by_role("alert")
    expect(refusal).to_contain_text("3 pools of the file cannot be imported as a whole:")
    expect(refusal.get_by_role("listitem")).to_have_text(
        [
            "comp: pc-1 is not on the farm, which has pc-[01-20]: did you mean pc-01?",
            "FX: The name 'FX' looks like that of the pool 'fx', and a job could be sent to the wrong one. Choose "
            "another name, or change that pool.",
            "night: PC-05 is in the pool 'night' already, as pc-05: the farm takes both for one machine. Leave it out.",
        ]
    )
    expect(refusal).to_contain_text("If these machines are not set up yet, tick the box above.")
    expect(card.get_by_role("button", name="Make 1 change")).to_be_visible()
    picture(page, "import-refused")
    card.get_by_label("Also add machines that are not on the farm").check()
    expect(refusal.get_by_role("listitem")).to_have_count(2)
    card.get_by_role("button", name="Make 2 changes").click()
    expect(page.get_by_text("Imported a part of pools.csv: 2 changes")).to_be_visible()
    # The omitted parts are shown again, once.
    expect(refusal.get_by_role("listitem")).to_have_count(2)
    assert elsewhere.get_pool("comp").hosts == ("pc-1",)


def test_a_file_without_pools_is_refused(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("buy more renders")
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("alert")).to_contain_text("notes.txt is neither JSON nor CSV")


def test_a_file_in_another_encoding_is_refused(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "pools.csv"
    file.write_bytes("pool,host\nKüche,pc-01".encode("latin-1"))
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("alert")).to_contain_text("pools.csv is not text in UTF-8")


def test_an_import_is_cancelled(page: Page, elsewhere: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\n" + "".join(f"new-{number},pc-01\n" for number in range(9)))
    go(page, "Import, export")
    card = page.get_by_role("article", name="Import a file")
    card.get_by_label("File").set_input_files(file)
    expect(card.get_by_role("listitem")).to_have_count(9)
    gate = Gate(monkeypatch, "create_pool")
    card.get_by_role("button", name="Make 9 changes").click()
    expect(card.get_by_text("Importing pools.csv…")).to_be_visible()
    assert gate.reached.wait(20)
    with page.expect_response("**/api/import/cancel"):
        card.get_by_role("button", name="Cancel").click()
    gate.released.set()
    expect(card.get_by_role("alert")).to_contain_text("1 of 9 changes made before this: The import was cancelled.")
    # The missing parts can be imported at once.
    expect(card.get_by_role("listitem")).to_have_count(8)
    picture(page, "import-cancelled")
    assert [pool.name for pool in elsewhere.list_pools().pools] == ["fx", "gpu", "new-0", "night"]
