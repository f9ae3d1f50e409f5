"""The Pool Manager in a browser: what is shown before the first answer, and if none comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.studio import studio

from afpools_broker.protocol import Role

from ..browser import picture
from ..conftest import Manager, running
from .conftest import Held, Open, go

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("chromium"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def empty_manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    """In front of a broker that has nothing: no pools, no hosts, no history."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch, studio(folder) as place:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        with running(place.profile("anna", Role.MANAGER)) as manager:
            yield manager


# What a page requests, what it says until that arrives, and what it says if there is nothing.
STATES = [
    ("history", "history*", "Loading the history…", "Nothing has changed yet."),
    ("map/usage", "usage*", "Loading the use of every pool…", "There are no pools yet."),
    ("scan", "scan", "Loading the last scan…", "Nothing has been scanned yet."),
    ("broker", "brokers", "Asking every endpoint of your profile…", "Your certificate"),
    ("pools", "live", "Loading…", "There are no pools yet. Make the first with New pool."),
    ("hosts", "live", "Loading…", "No hosts are known yet"),
    ("masks", "live", "Loading…", "There are no pools yet."),
    ("map", "live", "Loading…", "No pools share hosts."),
    ("exchange", "live", "Loading…", "There are no pools yet."),
    ("history", "live", "Loading the history…", "Nothing has changed yet."),
    ("map/usage", "live", "Loading", "There are no pools yet."),
]


@pytest.mark.parametrize(("name", "asked", "loading", "empty"), STATES, ids=[f"{one[0]} {one[1]}" for one in STATES])
def test_loading_failed_and_empty_do_not_look_alike(
    empty_manager: Manager, blank_page: Open, name: str, asked: str, loading: str, empty: str
) -> None:
    page = blank_page(empty_manager)
    said = page.get_by_role("main")
    held = Held(page, f"**/api/{asked}")
    page.goto(f"{empty_manager.new_address()}/{name}")
    held.wait()
    expect(said.get_by_text(loading).first).to_be_visible()
    # Nor is there a count of anything that has not arrived yet.
    assert not re.search(r"\b0\b|no pools|nothing has", said.inner_text(), re.IGNORECASE)
    if asked == "live":
        expect(page.get_by_text("Connecting…")).to_be_visible()
    picture(page, f"loading-{name.replace('/', '-')}-{asked.strip('*')}")
    held.release()
    expect(said.get_by_text(empty).first).to_be_visible()
    expect(said.get_by_text(loading)).to_have_count(0)

    held.hold()
    page.reload()
    held.wait()
    held.fail()
    broken = "The Pool Manager does not answer" if asked == "live" else "Something broke."
    expect(said.get_by_text(broken).first).to_be_visible()
    if asked == "live":
        expect(said.get_by_text("Waiting for the Pool Manager.").first).to_be_visible()
    expect(said.get_by_text(loading)).to_have_count(0)
    expect(said.get_by_text(empty)).to_have_count(0)


def test_a_requested_view_says_that_it_is_loading_until_it_arrives(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "pools.csv"
    file.write_text("pool,host\nnew,pc-01")

    def choose_pool() -> None:
        go(page, "Masks")
        page.get_by_role("link", name=re.compile("^fx")).click()

    def test_mask() -> None:
        page.get_by_label("Exclude mask").fill("pc-02")

    def choose_file() -> None:
        go(page, "Import, export")
        page.get_by_label("File", exact=True).set_input_files(file)

    def look_at_native() -> None:
        page.get_by_role("button", name="Show them").click()

    for asked, do, loading, there in (
        ("masks*", choose_pool, "Loading the masks of fx…", "Names the pool's own hosts"),
        ("pattern", test_mask, "Testing the mask…", "Runs on"),
        ("import/plan", choose_file, "Checking what would change…", "new: create with 1 host"),
        ("native", look_at_native, "Asking the broker for Afanasy's own pools…", "/local/gpu"),
    ):
        held = Held(page, f"**/api/{asked}")
        do()
        held.wait()
        expect(page.get_by_text(loading)).to_be_visible()
        held.release()
        expect(page.get_by_text(there).first).to_be_visible()
        expect(page.get_by_text(loading)).to_have_count(0)
