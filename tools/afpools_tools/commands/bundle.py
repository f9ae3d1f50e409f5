"""`afpools bundle`: plug-ins in the form in which their host application installs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..plugins.bundle import write_blender_zip
from ..plugins.catalogue import blender_manifest
from ..written import not_written

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """Plug-ins packed as their host application installs them."""


@app.command()
def blender(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write it.", show_default="NAME-VERSION.zip here")
    ] = None,
) -> None:
    """The Blender add-on as a zip that "Install from Disk" takes, in Blender 2.83 and newer."""
    manifest = blender_manifest()
    path = output or Path(f"{manifest['id']}-{manifest['version']}.zip")
    try:
        write_blender_zip(path, manifest["id"])
    except OSError as error:
        raise not_written(path, error) from None
    typer.echo(path)
