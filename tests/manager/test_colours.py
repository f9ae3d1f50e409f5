"""Text can be read on every surface it is shown on, light and dark: WCAG 2.2, 1.4.3 and 1.4.11."""

from __future__ import annotations

import re

import pytest

from afpools_tools.manager.app import STATIC

COLOURS = {
    name: pair
    for name, *pair in re.findall(
        r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", (STATIC / "base.css").read_text(encoding="utf-8")
    )
}
SURFACES = ("page", "surface", "raised", "hover", "selected")


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "surfaces", "least"),
    [
        *((name, SURFACES, 4.5) for name in ("text", "muted", "accent", "busy", "free", "bad")),
        ("warn", (*SURFACES, "warn-surface"), 4.5),
        ("text", ("warn-surface", "info-surface"), 4.5),
        ("bad", ("bad-surface",), 4.5),
        ("on-accent", ("accent", "bad"), 4.5),
        ("field", ("page", "surface", "raised"), 3.0),
    ],
)
def test_contrast(scheme: int, text: str, surfaces: tuple[str, ...], least: float) -> None:
    ratios = {surface: contrast(COLOURS[text][scheme], COLOURS[surface][scheme]) for surface in surfaces}
    assert min(ratios.values()) >= least, ratios
