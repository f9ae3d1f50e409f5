"""The Pool Manager in a browser: pools that follow Afanasy's own, and what an import of those does to jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.broker.live.conftest import put_job
from tests.live_office import live_manager, live_office
from tests.studio import Studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client

from ..browser import picture
from ..conftest import until
from .conftest import go

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:  # type: ignore[override]
    with working_afserver("pc-01", "pc-02", "pc-03", "pc-04", "ws-1") as made:
        made.set_pool("/local/farm", "pc-01", "pc-02")
        made.set_pool("/local/night", "pc-03")
        yield made


@pytest.fixture
def place(tmp_path: Path, server: WorkingAfServer) -> Iterator[Studio]:
    """A studio whose renders are in Afanasy's own pools."""
    with live_office(tmp_path, server) as made:
        with live_manager(made, "dora", 5) as client:
            client.create_pool("night", ["pc-03", "pc-04"], "Workstations after 20:00", "#d9902f")
        yield made


def test_a_pool_of_afanasys_is_followed_marked_as_such_and_unfollowed(
    page: Page, elsewhere: Client, server: WorkingAfServer
) -> None:
    go(page, "Import, export")
    card = page.get_by_role("article", name="Afanasy's own pools")
    card.get_by_role("button", name="Show them").click()
    card.get_by_role("button", name="Follow /local/farm…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Afanasy's pool").fill("/local/fram")
    dialog.get_by_label("Name").fill("farm")
    dialog.get_by_role("button", name="Follow").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Did you mean /local/farm?")
    dialog.get_by_label("Afanasy's pool").fill("/local/farm")
    picture(page, "follow-dialog")
    dialog.get_by_role("button", name="Follow").click()
    expect(page.get_by_text("farm follows /local/farm and has 2 hosts now")).to_be_visible()
    expect(card.get_by_role("link", name="followed by farm")).to_be_visible()
    expect(card.get_by_role("button", name="Import 2 pools")).to_be_visible()
    picture(page, "follow-import")
    card.get_by_role("link", name="followed by farm").click()
    detail = page.get_by_role("complementary", name="Pool farm")
    expect(detail).to_contain_text("Follows /local/farm in Afanasy, where its hosts are changed.")
    expect(detail.get_by_label("Hosts to add")).to_be_disabled()
    remove = detail.get_by_role("button", name="Remove pc-01 from farm")
    expect(remove).to_be_disabled()
    expect(remove).to_have_attribute(
        "title",
        "farm follows Afanasy's pool /local/farm: its hosts are changed in Afanasy. Unfollow it to change them here.",
    )
    expect(page.get_by_role("grid", name="Pools").get_by_text("follows", exact=True)).to_be_visible()
    server.set_pool("/local/farm", "pc-04")
    expect(detail.get_by_role("button", name="Remove pc-04 from farm")).to_be_visible()
    picture(page, "follow-pool")
    go(page, "Hosts")
    expect(page.get_by_role("button", name="to farm", exact=False)).to_be_disabled()
    go(page, "History")
    expect(page.get_by_role("row").filter(has_text="broker broker")).to_contain_text("/local/farm")
    picture(page, "follow-history")
    go(page, "Pools")
    page.get_by_role("grid", name="Pools").get_by_text("farm", exact=True).click()
    detail.get_by_role("button", name="Unfollow").click()
    expect(page.get_by_text("farm no longer follows /local/farm, and keeps its 3 hosts")).to_be_visible()
    expect(detail.get_by_label("Hosts to add")).to_be_enabled()
    assert elsewhere.get_pool("farm").follows == ""


def test_an_import_of_afanasy_s_pools_says_what_jobs_gain_before_it_is_made(
    page: Page, elsewhere: Client, server: WorkingAfServer
) -> None:
    elsewhere.create_pool("local/farm", ["pc-01"])
    mask = elsewhere.exclude_mask("local/farm")
    job = put_job(server, mask.mask, "local/farm", mask.revision, offline=True)
    until(lambda: bool(elsewhere.jobs().jobs))
    go(page, "Import, export")
    card = page.get_by_role("article", name="Afanasy's own pools")
    card.get_by_role("button", name="Show them").click()
    said = card.get_by_role("group", name="Jobs on the farm")
    expect(said).to_contain_text("1 job gains pc-02.")
    picture(page, "import-native-jobs")
    # Pools that are left out of it have no effect.
    card.get_by_role("checkbox", name="/local/farm").uncheck()
    expect(said).to_have_count(0)
    card.get_by_role("checkbox", name="/local/farm").check()
    card.get_by_role("button", name="Import 3 pools").click()
    until(lambda: server.fence(job)[0] != mask.mask)
