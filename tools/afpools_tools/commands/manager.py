"""`afpools manager`: opens the Pool Manager in the browser."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from afpools.profile import Profile
from afpools_broker.monitoring.logs import open_log

from ..manager.serving import Serving, listen, open_browser
from .options import ProfileOption, open_profile
from .output import say


def manager(
    profile: ProfileOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Listen on this port of 127.0.0.1, so that it can be forwarded; 0 lets the system choose. Without it, "
            "listen on a new loopback address each time.",
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Edit pools in the browser. Listens on this machine only, until Ctrl-C."""
    open_log("warning", with_time=False)
    opened = open_profile(profile)
    with listen(port) as listening, tempfile.TemporaryDirectory(prefix="afpools-manager-") as folder:

        def ready() -> None:
            _welcome(opened)
            show_address()
            say("Ctrl-C stops it.")
            if not no_browser:
                # The browser gets an address of its own, so that the printed one can open another tab.
                open_browser(serving.new_address, Path(folder) / "open.html")

        def show_address() -> None:
            say("")
            say(f"  {serving.new_address(used=show_next)}")
            say("")

        def show_next() -> None:
            say("A tab was opened with that address. Open the next one with this:")
            show_address()

        serving = Serving(opened, listening, ready)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # The terminal was closed, so nobody can press Ctrl-C any more.
            signal.signal(signal.SIGHUP, lambda *_: serving.stop())
        serving.run()


def _welcome(profile: Profile) -> None:
    say("")
    say(f"The Pool Manager, for {profile.name or profile.folder}. This address opens one tab, once:", "bold green")
