"""`afpools mask`: the exclude mask of a pool, its effect, and the effect of any other mask."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from afpools import HostList, Mask

from ..effects import Effect, effects, judge
from ..words import plural, ranges
from .options import CommandError, JsonOption, ProfileOption, TimeoutOption, connect
from .output import UNSEEN, console, print_json, print_table, printable, remark, say, stale, table, warn

# How many characters of a mask --explain shows; without --explain, the command prints all of it.
_SHOWN = 300


class StyleName(enum.StrEnum):
    """The style of a mask: how it names the hosts to exclude; see docs/wire.md."""

    LIST = "list"
    COMPACT = "compact"
    COMPLEMENT = "complement"


class DialectName(enum.StrEnum):
    """The two ways in which Afanasy reads a mask."""

    REGEX = "regex"
    FIND = "find"


PoolArgument = Annotated[
    str | None, typer.Argument(metavar="POOL", help="The pool's name; with --check it may be left out.")
]
StyleOption = Annotated[
    StyleName | None,
    typer.Option(help="The style you want; the broker uses another if it would be wrong.", show_default="list"),
]
TypesOption = Annotated[
    list[DialectName] | None,
    typer.Option(
        "--type",
        help="The mask type that you can set on a job; without it, either. With --check, the type of that mask.",
    ),
]
CheckOption = Annotated[
    str | None,
    typer.Option(
        "--check",
        metavar="PATTERN",
        help="Show what this exclude mask would do on the farm. Exit status 0: no problems found, 1: there "
        "are warnings, or it does not fit POOL.",
    ),
]
MaxBytesOption = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        min=1,
        max=2**31 - 1,
        help="How long the mask may be, in bytes. Default: 24,576, which fits a command line; use 65,536 for af.Job.",
    ),
]


def mask(
    pool: PoolArgument = None,
    style: StyleOption = None,
    types: TypesOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which hosts the mask lets through and which it keeps out.")
    ] = False,
    pattern: CheckOption = None,
    max_bytes: MaxBytesOption = None,
    profile: ProfileOption = None,
    timeout: TimeoutOption = 5.0,
    as_json: JsonOption = False,
) -> None:
    """The exclude mask that keeps a job on a pool. The mask alone goes to standard output.

    With --explain: what it does to each host, as either mask type. With --check: what another mask would do.
    """
    if pattern is not None:
        if explain or style or max_bytes:
            raise typer.BadParameter(
                "cannot be combined with --explain, --style or --max-bytes.", param_hint="'--check'"
            )
        kind = _checked_type(pattern, types)
        _check(pattern, kind, pool, profile, timeout, as_json=as_json)
        return
    if pool is None:
        raise typer.BadParameter("name a pool; only --check goes without one.", param_hint="'POOL'")
    with connect(profile, timeout) as client:
        wanted, accept = (style or StyleName.LIST).value, [kind.value for kind in types or DialectName]
        made = client.exclude_mask(pool, style=wanted, accept=accept, max_bytes=max_bytes)
        hosts = client.list_hosts() if explain else None
    if hosts is not None:
        _explain(made, hosts, as_json=as_json)
    elif as_json:
        print_json(made._asdict())
    else:
        typer.echo(made.mask)
        _remark_on(made)


def _checked_type(pattern: str, types: list[DialectName] | None) -> DialectName:
    """The type of the mask that is to be checked.

    Raises:
        typer.BadParameter: none or several are named, or the mask cannot be one.
    """
    if types is None or len(types) != 1:
        raise typer.BadParameter(
            "is needed once with --check: regex or find, whichever the job's hosts_mask_type says "
            "(find where it says nothing, unless the user's settings do).",
            param_hint="'--type'",
        )
    try:
        pattern.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("is not valid UTF-8.", param_hint="'--check'") from None
    return types[0]


def _remark_on(made: Mask) -> None:
    """Prints what a mask does, in addition to the mask itself."""
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


def _explain(made: Mask, hosts: HostList, *, as_json: bool) -> None:
    """Prints what the mask does in either type.

    Raises:
        CommandError: the pool or the farm changed between the broker's two answers.
        typer.Exit: 1: the mask is not what it should be.
    """
    known = frozenset(host.name for host in hosts.hosts)
    inside = frozenset(host.name for host in hosts.hosts if made.pool in host.pools)
    if (len(inside), len(known)) != (made.pool_hosts, made.known_hosts):
        raise CommandError("The pool or the farm changed between two requests. Try again.")
    both = effects(made.mask, known, inside)
    meant = [effect for effect in both if made.mask_type in ("any", effect.dialect)]
    if as_json:
        print_json({**made._asdict(), **{effect.dialect: effect.for_programs() for effect in both}})
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
        _print_hosts(both)
        say("")
        for effect in both:
            line = _summary(effect)
            if effect not in meant and effect.wrong:
                line.append(f". Set hosts_mask_type to {made.mask_type}.")
            console.print(line, soft_wrap=not console.is_terminal)
        stale(made.age, hosts.farm_age if hosts.farm_is_stale else None)
    if any(effect.wrong or effect.checked.excluded is None for effect in meant):
        raise typer.Exit(1)


def _check(
    pattern: str, kind: DialectName, pool: str | None, profile: Path | None, timeout: float, *, as_json: bool
) -> None:
    """Prints what another mask does, and warnings about it.

    Raises:
        typer.Exit: 1: there are warnings.
    """
    with connect(profile, timeout) as client:
        if pool is not None:
            client.get_pool(pool)  # raises if there is no such pool; the comparison would be meaningless
        answer = client.list_hosts()
    effect, warnings = judge(pattern, "find" if kind is DialectName.FIND else "regex", pool, answer.hosts)
    if answer.farm_unseen:
        warnings.append(UNSEEN)
    if as_json:
        print_json(
            {
                "mask": pattern,
                "mask_type": effect.dialect,
                "pool": pool,
                **effect.for_programs(),
                "warnings": warnings,
            }
        )
    else:
        facts = table()
        facts.add_row("Exclude mask", _cut(pattern))
        facts.add_row("Mask type", effect.dialect)
        if effect.inside is not None:
            of_all = f"{len(effect.inside):,} of {plural(len(effect.known), 'known host')}"
            facts.add_row("Pool", f"{printable(pool or '')}, {of_all}")
        print_table(facts)
        say("")
        if effect.known:
            _print_hosts([effect])
            say("")
        if warnings:
            said = table()
            for warning in warnings:
                said.add_row(Text("Warning", "bold yellow"), Text(printable(warning), "yellow"))
            print_table(said)
            say("")
        if effect.inside is not None and effect.known:
            console.print(_summary(effect), soft_wrap=True)
        elif not warnings:
            say(f"{effect.dialect}: no problems found", "green")
    stale(answer.age, answer.farm_age if answer.farm_is_stale else None)
    if warnings:
        raise typer.Exit(1)


def _print_hosts(both: Sequence[Effect]) -> None:
    """One row for all hosts with the same outcome."""
    inside = both[0].inside
    groups: dict[tuple[bool, tuple[tuple[str, str], ...]], list[str]] = {}
    for host in sorted(both[0].known):
        verdicts = tuple(_verdict(effect, host) for effect in both)
        groups.setdefault((inside is not None and host in inside, verdicts), []).append(host)
    heads = ["In pool"] * (inside is not None) + [effect.dialect for effect in both] + ["Hosts"]
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
    left = console.width - sum(width + 3 for width in widths)  # three spaces after each column
    shown = table(*heads, "", right=("Hosts",), whole=tuple(heads))
    for cells, hosts in rows:
        names = printable(ranges(hosts))
        shown.add_row(*cells, "\n".join(_broken(names, left)) if console.is_terminal else names)
    print_table(shown)


def _broken(names: str, width: int) -> Iterable[str]:
    """Folded names, wrapped after commas if possible."""
    line = ""
    for part in re.findall(r"[^,]+,*|,+", names):
        if line and len(line) + len(part) > width:
            yield line
            line = ""
        line += part
    yield line


def _verdict(effect: Effect, host: str) -> tuple[str, str]:
    """What the mask does to one host, and the colour to show it in."""
    if effect.checked.excluded is None:
        return "not known", "yellow"
    word, style = ("kept out", "") if host in effect.checked.excluded else ("runs", "green")
    return (f"WRONG: {word}", "bold red") if host in effect.wrong else (word, style)


def _summary(effect: Effect) -> Text:
    """One line that says how correct the mask is, read as this type."""
    line = f"{effect.dialect}: "
    if effect.checked.excluded is None:
        return Text(f"{line}unknown effect", "yellow")
    if not effect.wrong:
        return Text(f"{line}right on {_all(len(effect.known))}", "green")
    line += f"WRONG on {len(effect.wrong):,} of {plural(len(effect.known), 'host')}"
    return Text(line if effect.checked.compiles else f"{line}, because afserver cannot compile it", "bold red")


def _cut(text: str) -> str:
    shown = printable(text)
    if not shown:
        return "(empty)"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(text):,} characters)"


def _all(count: int) -> str:
    return "the one host" if count == 1 else f"all {count:,} hosts"
