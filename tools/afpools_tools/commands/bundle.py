"""`afpools bundle`: plug-ins as files that their host application can install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..plugins.bundle import write_blender_repository, write_blender_zip
from ..plugins.catalogue import blender_manifest
from ..written import not_written
from .options import CommandError
from .output import say

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """Plug-ins packed as their host application installs them."""


@app.command()
def blender(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write it.", show_default="NAME-VERSION.zip here")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            metavar="DIR",
            file_okay=False,
            help="Put the zip into this folder, with an index from which Blender 4.2 and newer install and update it.",
        ),
    ] = None,
) -> None:
    """The Blender add-on as a zip that "Install from Disk" takes, in Blender 2.83 and newer; with --index, as a remote
    repository for a studio's web server or share."""
    if index is not None:
        if output is not None:
            raise CommandError("Say -o or --index, not both: in a repository, the zip is called after its version.")
        written = write_blender_repository(index)
        typer.echo(written)
        say(
            "In Blender: Preferences, Get Extensions, Repositories, Add Remote Repository. Its URL is where your web "
            f"server has this file, or {written.resolve().as_uri()}"
        )
        return
    manifest = blender_manifest()
    path = output or Path(f"{manifest['id']}-{manifest['version']}.zip")
    try:
        write_blender_zip(path, manifest["id"])
    except OSError as error:
        raise not_written(path, error) from None
    typer.echo(path)
