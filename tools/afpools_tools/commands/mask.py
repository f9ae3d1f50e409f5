"""`afpools mask`: the exclude mask of a pool, what it does, and what somebody else's mask would do."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from afpools import HostSummary, Mask

from .output import (
    UNSEEN,
    CommandError,
    JsonOption,
    ProfileOption,
    TimeoutOption,
    connect,
    console,
    plural,
    print_json,
    print_table,
    printable,
    ranges,
    remark,
    say,
    stale,
    table,
    warn,
)

if TYPE_CHECKING:
    from afpools_broker.mask_check import Checked
    from afpools_broker.protocol import Dialect

# Of a mask that is explained; the command without --explain prints it whole.
_SHOWN = 300


class Style(enum.StrEnum):
    """How a mask says which hosts it keeps a job off; see docs/wire.md."""

    LIST = "list"
    COMPACT = "compact"
    COMPLEMENT = "complement"


class MaskType(enum.StrEnum):
    """Afanasy's two ways to read a mask."""

    REGEX = "regex"
    FIND = "find"


def mask(
    pool: Annotated[
        str | None, typer.Argument(metavar="POOL", help="The pool's name; with --check it may be left out.")
    ] = None,
    style: Annotated[
        Style | None,
        typer.Option(
            help="The one you would like; the broker takes another where it would be wrong.", show_default="list"
        ),
    ] = None,
    types: Annotated[
        list[MaskType] | None,
        typer.Option(
            "--type",
            help="The mask type that you can set on a job; without it, either. With --check, the type of that mask.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which hosts the mask lets through and which it keeps out.")
    ] = False,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="PATTERN",
            help="Show what this exclude mask would do on the farm. Exit status 0: nothing to say against it, 1: there "
            "are warnings, or it does not fit POOL.",
        ),
    ] = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            "--max-bytes",
            min=1,
            max=2**31 - 1,
            help="How long the mask may be. Without it, what a command line can carry (24,576); with af.Job, 65,536.",
        ),
    ] = None,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> None:
    """The exclude mask that keeps a job on a pool. The mask alone goes to standard output.

    With --explain: what it does to each host, as either mask type. With --check: what another mask would do.
    """
    if pattern is not None:
        if explain or style or max_bytes:
            raise typer.BadParameter("does not go with --explain, --style or --max-bytes.", param_hint="'--check'")
        if types is None or len(types) != 1:
            raise typer.BadParameter(
                "is needed once with --check: regex or find, whichever the job's hosts_mask_type says "
                "(find where it says nothing, unless the user's settings do).",
                param_hint="'--type'",
            )
        try:
            pattern.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter("is no text in UTF-8.", param_hint="'--check'") from None
        _check(pattern, types[0], pool, profile, timeout, as_json=as_json)
        return
    if pool is None:
        raise typer.BadParameter("is needed, but for --check.", param_hint="'POOL'")
    with connect(profile, timeout) as client:
        wanted, accept = (style or Style.LIST).value, [kind.value for kind in types or MaskType]
        made = client.exclude_mask(pool, style=wanted, accept=accept, max_bytes=max_bytes)
        hosts = client.list_hosts().hosts if explain else ()
    if explain:
        _explain(made, hosts, as_json=as_json)
        return
    if as_json:
        print_json(made._asdict())
        return
    typer.echo(made.mask)
    set_type = "for either mask type" if made.mask_type == "any" else f"for hosts_mask_type {made.mask_type!r} only"
    remark(
        f"{made.pool}: {plural(made.pool_hosts, 'host')} in, {made.excluded_hosts:,} of {made.known_hosts:,} known "
        f"hosts out. Style {made.style}, {set_type}; hosts that register later {_later(made)}."
    )
    if made.why:
        remark(made.why)
    if made.warning:
        warn(made.warning)
    stale(made.age, made.farm_age if made.farm_is_stale else None)


def _later(made: Mask) -> str:
    return "are kept out too" if made.covers_future_hosts else "are not kept out"


@dataclass(frozen=True)
class Reading:
    """What a mask does, read as one type, beside what it should do.

    Args:
        dialect: the type.
        checked: what it does.
        known: every host.
        inside: the hosts that it should let through; None where nobody said.
    """

    dialect: Dialect
    checked: Checked
    known: frozenset[str]
    inside: frozenset[str] | None

    @property
    def strays(self) -> frozenset[str]:
        """The hosts that it lets through and should not."""
        if self.checked.excluded is None or self.inside is None:
            return frozenset()
        return self.known - self.inside - self.checked.excluded

    @property
    def lost(self) -> frozenset[str]:
        """The hosts that it keeps out and should not."""
        if self.checked.excluded is None or self.inside is None:
            return frozenset()
        return self.inside & self.checked.excluded

    @property
    def wrong(self) -> frozenset[str]:
        return self.strays | self.lost

    def verdict(self, host: str) -> tuple[str, str]:
        """What becomes of one host, and in which colour to say it."""
        if self.checked.excluded is None:
            return "not known", "yellow"
        word, style = ("kept out", "") if host in self.checked.excluded else ("runs", "green")
        return (f"WRONG: {word}", "bold red") if host in self.wrong else (word, style)

    @property
    def summary(self) -> Text:
        """In a line: how far this reading is what it should be."""
        line = f"{self.dialect}: "
        if self.checked.excluded is None:
            return Text(f"{line}what it does is not known", "yellow")
        if not self.wrong:
            return Text(f"{line}right on {_all(len(self.known))}", "green")
        line += f"WRONG on {len(self.wrong):,} of {plural(len(self.known), 'host')}"
        return Text(line if self.checked.compiles else f"{line}, because afserver cannot compile it", "bold red")

    def for_programs(self) -> dict[str, Any]:
        excluded = self.checked.excluded
        found: dict[str, Any] = {
            "compiles": self.checked.compiles,
            "runs": None if excluded is None else sorted(self.known - excluded),
            "kept_out": None if excluded is None else sorted(excluded),
        }
        if self.inside is not None:
            found["right"] = None if excluded is None else not self.wrong
            found["wrong"] = None if excluded is None else sorted(self.wrong)
        return found


def _explain(made: Mask, hosts: Sequence[HostSummary], *, as_json: bool) -> None:
    """Says what the mask does in either type.

    Raises:
        CommandError: the broker's two answers are of different moments.
        typer.Exit: 1: the mask is not what it should be.
    """
    # What a plain mask does not need, and would wait for.
    from afpools_broker.mask_check import check

    known = frozenset(host.name for host in hosts)
    inside = frozenset(host.name for host in hosts if made.pool in host.pools)
    if (len(inside), len(known)) != (made.pool_hosts, made.known_hosts):
        raise CommandError("The pool or the farm changed between two questions. Try again.")
    dialects: tuple[Dialect, ...] = ("regex", "find")
    readings = [Reading(dialect, check(made.mask, dialect, known), known, inside) for dialect in dialects]
    meant = [reading for reading in readings if made.mask_type in ("any", reading.dialect)]
    if as_json:
        print_json({**made._asdict(), **{reading.dialect: reading.for_programs() for reading in readings}})
    else:
        facts = table()
        facts.add_row(
            "Pool", f"{printable(made.pool)}, {made.pool_hosts:,} of {plural(made.known_hosts, 'known host')}"
        )
        facts.add_row("Exclude mask", _cut(made.mask))
        set_type = (
            "either: both types read this mask alike" if made.mask_type == "any" else f"{made.mask_type}, no other"
        )
        facts.add_row("Mask type", Text(set_type, "" if made.mask_type == "any" else "bold"))
        facts.add_row("Style", f"{made.style}; hosts that register later {_later(made)}")
        if made.why:
            facts.add_row("", printable(made.why))
        print_table(facts)
        say("")
        _print_hosts(readings)
        say("")
        for reading in readings:
            line = reading.summary
            if reading not in meant and reading.wrong:
                line.append(f". Set hosts_mask_type to {made.mask_type}.")
            console.print(line, soft_wrap=not console.is_terminal)
        stale(made.age, made.farm_age)
    if any(reading.wrong or reading.checked.excluded is None for reading in meant):
        raise typer.Exit(1)


def read_pattern(
    pattern: str, dialect: Dialect, pool: str | None, hosts: Sequence[HostSummary]
) -> tuple[Reading, list[str]]:
    """What somebody's mask does on these hosts, and the sentences that are to be said against it.

    Args:
        pattern: the mask.
        dialect: its type.
        pool: the one it is meant for, if any.
        hosts: every known host.
    """
    from afpools_broker.engines import engines_of
    from afpools_broker.farm import Render
    from afpools_broker.mask_check import check

    known = frozenset(host.name for host in hosts)
    renders = [Render(host.name, host.states, engine=host.engine) for host in hosts if host.states]
    inside = None if pool is None else frozenset(host.name for host in hosts if pool in host.pools)
    checked = check(pattern, dialect, known, engines_of(renders) if renders else None)
    reading = Reading(dialect, checked, known, inside)
    warnings = list(reading.checked.warnings)
    if not known:
        warnings.append("No hosts are known yet, so there is nothing to try it on: afpools host register 'pc-[01-40]'")
    if reading.lost:
        warnings.append(f"It keeps the job off {plural(len(reading.lost), 'host')} of {pool!r}.")
    if reading.strays:
        warnings.append(f"It lets the job run on {plural(len(reading.strays), 'host')} outside {pool!r}.")
    return reading, warnings


def _check(
    pattern: str, kind: MaskType, pool: str | None, profile: Path | None, timeout: float, *, as_json: bool
) -> None:
    """Says what somebody's mask does, and what is to be said against it.

    Raises:
        typer.Exit: 1: there are warnings.
    """
    with connect(profile, timeout) as client:
        if pool is not None:
            client.get_pool(pool)  # or it would be no pool's hosts that are compared
        answer = client.list_hosts()
    reading, warnings = read_pattern(pattern, "find" if kind is MaskType.FIND else "regex", pool, answer.hosts)
    if answer.farm_unseen:
        warnings.append(UNSEEN)
    if as_json:
        print_json(
            {
                "mask": pattern,
                "mask_type": reading.dialect,
                "pool": pool,
                **reading.for_programs(),
                "warnings": warnings,
            }
        )
    else:
        facts = table()
        facts.add_row("Exclude mask", _cut(pattern))
        facts.add_row("Mask type", reading.dialect)
        if reading.inside is not None:
            of_all = f"{len(reading.inside):,} of {plural(len(reading.known), 'known host')}"
            facts.add_row("Pool", f"{printable(pool or '')}, {of_all}")
        print_table(facts)
        say("")
        if reading.known:
            _print_hosts([reading])
            say("")
        if warnings:
            said = table()
            for warning in warnings:
                said.add_row(Text("Warning", "bold yellow"), Text(printable(warning), "yellow"))
            print_table(said)
            say("")
        if reading.inside is not None and reading.known:
            console.print(reading.summary, soft_wrap=True)
        elif not warnings:
            say(f"{reading.dialect}: nothing to say against it", "green")
    stale(answer.age, answer.farm_age)
    if warnings:
        raise typer.Exit(1)


def _print_hosts(readings: Sequence[Reading]) -> None:
    """A row for all hosts that fare alike."""
    inside = readings[0].inside
    groups: dict[tuple[bool, tuple[tuple[str, str], ...]], list[str]] = {}
    for host in sorted(readings[0].known):
        verdicts = tuple(reading.verdict(host) for reading in readings)
        groups.setdefault((inside is not None and host in inside, verdicts), []).append(host)
    heads = ["In pool"] * (inside is not None) + [reading.dialect for reading in readings] + ["Hosts"]
    rows = [
        (
            [Text("yes" if member else "no")] * (inside is not None)
            + [Text(word, style) for word, style in verdicts]
            + [Text(f"{len(hosts):,}")],
            hosts,
        )
        for (member, verdicts), hosts in sorted(groups.items(), key=lambda group: (not group[0][0], group[0][1]))
    ]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *(cells for cells, _ in rows), strict=True)]
    left = console.width - sum(width + 3 for width in widths)  # three blanks after each column
    shown = table(*heads, "", right=("Hosts",), whole=tuple(heads))
    for cells, hosts in rows:
        names = printable(ranges(hosts))
        shown.add_row(*cells, "\n".join(_broken(names, left)) if console.is_terminal else names)
    print_table(shown)


def _broken(names: str, width: int) -> Iterable[str]:
    """Folded names in lines, broken after commas where that is possible."""
    line = ""
    for part in re.findall(r"[^,]+,*|,+", names):
        if line and len(line) + len(part) > width:
            yield line
            line = ""
        line += part
    yield line


def _cut(text: str) -> str:
    shown = printable(text)
    if not shown:
        return "(empty)"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(text):,} characters)"


def _all(count: int) -> str:
    return "the one host" if count == 1 else f"all {count:,} hosts"
