"""`afpools backup` and `restore`: everything in the database, in one file.

Both work directly on the database in broker.toml, as `serve` does. Brokers may be running.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from ..words import plural
from ..written import PRIVATE, replacing
from .options import CommandError, ConfigOption, open_configured
from .output import say, warn

if TYPE_CHECKING:
    from afpools_broker.store import PoolStore
    from afpools_broker.store.archive import Summary


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to. An existing backup is replaced.")],
    config: ConfigOption = Path("broker.toml"),
) -> None:
    """Write pools, registered hosts, history and the list of renders into one file. Run it where the broker runs."""
    from afpools_broker.store import archive

    if file.exists() or file.is_symlink():
        # A mistyped name must not overwrite another file.
        with _opened(file) as there:
            archive.read_header(there, str(file))
    # Somebody who may read pools and history need not be able to read the file that has everything.
    with replacing(file, PRIVATE) as written:
        with closing(open_configured(config)) as store:
            archive.write(written, store.kind, store.export())
        # A file that cannot be restored is not a backup.
        written.seek(0)
        summary = archive.check(written, str(file))
    say(f"Wrote {_contents(summary)} to {file}.")
    _warn(summary)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `afpools backup` wrote.")],
    config: ConfigOption = Path("broker.toml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the file and show what would be done.")
    ] = False,
) -> None:
    """Replace everything in the database with a backup. Run it where the broker runs.

    Brokers may be running: they notice. The file may be of the other kind of database.
    """
    from afpools_broker.config import load
    from afpools_broker.store import archive

    with _opened(file) as backed_up:
        summary = archive.check(backed_up, str(file))
        header = summary.header
        say(f"{file}: {_contents(summary)}; made {header.made.astimezone():%Y-%m-%d %H:%M:%S} from {header.store}.")
        _warn(summary)
        with closing(open_configured(config)) as store:
            there = _present(store)
            if there:
                say(f"In the database: {there}. All of it is replaced.")
            if dry_run:
                return
            if there and not yes:
                typer.confirm("Restore?", abort=True)
            backed_up.seek(0)
            # Twice as long as a broker waits, because its wait began a little later.
            store.restore(archive.records(backed_up, str(file)), writes_end=2 * load(config).store.timeout)
    say(f"Restored {_contents(summary)}.")


def _present(store: PoolStore) -> str:
    """What a restore would replace; empty for a new database."""
    from afpools_broker.store import RestoreUnfinished

    try:
        contents = store.load()
        history = store.history(limit=1)
    except RestoreUnfinished:
        return "what an unfinished restore has left"
    if not contents.pools and not contents.registered.hosts and not contents.problems and not history:
        return ""
    pools, hosts = len(contents.pools), len(contents.registered.hosts)
    parts = [plural(pools, "pool"), plural(hosts, "registered host")]
    if history:
        parts.append(f"history until {history[0].when.astimezone():%Y-%m-%d %H:%M:%S}")
    return ", ".join(parts)


def _contents(summary: Summary) -> str:
    counts = summary.counts
    return (
        f"{plural(counts.get('pool', 0), 'pool')}, {plural(counts.get('host', 0), 'registered host')} and "
        f"{plural(counts.get('entry', 0), 'change')}"
    )


def _warn(summary: Summary) -> None:
    if summary.twice:
        warn(
            f"Several pools are named {', '.join(map(repr, summary.twice))}. Only MongoDB can hold them, and brokers "
            "refuse every change until `afpools pool repair` has resolved them."
        )
    if documents := summary.counts.get("document"):
        warn(f"{plural(documents, 'document')} cannot be read. The backup keeps them for MongoDB as they are.")


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
