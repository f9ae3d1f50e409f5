"""Draws what `python -m tests.bench_growth --json` has measured: memberships across, what one change costs up, both
logarithmic. Needs `pip install -e '.[docs]'`."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure
from tests.bench_growth import KINDS, Report

_COLOURS = dict(zip(KINDS, ("#1b7837", "#2166ac", "#b2182b"), strict=True))
# Text stays text, ids are stable, and there is no date, so that the same numbers make the same file.
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 9, "font.family": "sans-serif"}


def draw(report: Report, before: Report | None) -> Figure:
    """Two charts, how long an author waits and how long the broker works.

    Args:
        report: measured now.
        before: measured by an earlier version, to be seen beside it.
    """
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    for place, (title, value) in enumerate((("author waits, ms", "wait"), ("the broker's CPU, ms", "cpu")), 1):
        axes = figure.add_subplot(1, 2, place)
        axes.set(xscale="log", yscale="log", title=f"One change of one pool: {title}")
        axes.grid(which="major", color="#dddddd", linewidth=0.6)
        for measured, style in ((before, "--"), (report, "-")):
            for row in measured.rows if measured else ():
                both = (row.tenth, row.full)
                axes.plot(
                    [each.memberships for each in both],
                    [getattr(each, value) * 1000 for each in both],
                    f"{style}o",
                    color=_COLOURS[row.store],
                    alpha=1 if measured is report else 0.4,
                    markersize=4,
                    label=row.store if measured is report else f"{row.store}, before",
                )
        lines = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(lines.values(), lines.keys(), frameon=False)
        axes.set_ylim(bottom=min(1, axes.get_ylim()[0]))
        axes.yaxis.set_major_formatter("{x:g}")
    figure.supxlabel(
        f"memberships; each line leads from a tenth of a row's pools to all, {report.hosts:,} hosts", size=9
    )
    return figure


def main() -> None:
    """Reads the numbers, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", type=Path, help="what `tests.bench_growth --json` wrote")
    parser.add_argument("picture", type=Path, help="the file to write: .svg or .png")
    parser.add_argument("--before", type=Path, help="numbers of an earlier version")
    given = parser.parse_args()
    report, before = (
        msgspec.json.decode(file.read_bytes(), type=Report) if file else None for file in (given.numbers, given.before)
    )
    with mpl.rc_context(_SETTINGS):
        draw(report, before).savefig(given.picture, metadata={"Date": None} if given.picture.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
