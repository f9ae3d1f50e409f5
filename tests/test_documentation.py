"""What the pages point to exists: files, sections, and the modules that docs/architecture.md names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "certs/README.md"])


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as code forges make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    for target, _, anchor in ("".join(link).partition("#") for link in links):
        if target.startswith(("http:", "https:")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_every_file_that_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.(?:py|md|toml))`", (ROOT / "docs/architecture.md").read_text()))
    named.discard("broker.toml")  # the operator's own
    assert len(named) > 30
    # As the page says: relative to the broker's package, or to the repository.
    near = (ROOT / "broker/afpools_broker", ROOT / "tools/afpools_tools", ROOT)
    assert [name for name in named if not any((folder / name).exists() for folder in near)] == []
