"""`afpools up`: a broker on this machine for a first look.

Strategy: everything is in one folder, and whatever is missing is made there. broker.toml is written once, and from then
on belongs to the user; options that are given later apply to that run only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import platformdirs
import typer

from afpools import AfpoolsError, Client, PoolList
from afpools.profile import Profile
from afpools_broker import config
from afpools_broker.monitoring.logs import open_log

from ..credentials.files import make_folder, write
from .options import CommandError
from .output import fail, say, warn
from .serve import open_audit_of, run

if TYPE_CHECKING:
    from afpools_broker.broker import Broker

# The pools for an empty database: enough to see a mask.
_EXAMPLE_HOSTS = ["pc-[01-05]"]
_EXAMPLE_POOLS = {"fx": ["pc-01", "pc-03"], "night": ["pc-[01-05]"]}

PortOption = Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="0 lets the system choose.")]


def up(
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keeps pools, keys and configuration. Without it: your own folder for program data.",
        ),
    ] = None,
    farm: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="Your afserver. Without it hosts are registered by hand.")
    ] = None,
    curve_port: PortOption = None,
    tls_port: PortOption = None,
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Ask over both transports as a client would, and exit with 0 or 1.")
    ] = False,
) -> None:
    """Run a broker on this machine for a first look. It makes everything it needs on first use."""
    # Not imported at the top: they would take half of the time that `--help` may take.
    from afpools_broker.broker import Broker
    from afpools_broker.listeners import ListenError

    from ..setup import make_state

    folder = (state or Path(platformdirs.user_data_dir("afanasy-pools"))).absolute()
    make_folder(folder)
    with _alone(folder, may_share=selftest):
        new = make_state(folder, farm=farm, curve_port=curve_port, tls_port=tls_port)
        given = {"AFPOOLS_FARM_SERVER": farm, "AFPOOLS_CURVE_PORT": curve_port, "AFPOOLS_TLS_PORT": tls_port}
        if selftest:
            # The ports may be in use by a broker that somebody works with.
            given |= {"AFPOOLS_CURVE_PORT": 0, "AFPOOLS_TLS_PORT": 0}
        overrides = {variable: str(value) for variable, value in given.items() if value is not None}
        settings = config.load(folder / "broker.toml", {**os.environ, **overrides})
        for section in ("curve", "tls"):
            if not getattr(settings, section).enabled:
                raise CommandError(
                    f"{folder / 'broker.toml'} has [{section}] enabled = false. Such a broker is run with "
                    f"`afpools serve -c {shlex.quote(str(folder / 'broker.toml'))}`."
                )
        open_log("warning" if selftest else settings.broker.log_level)
        open_audit_of(settings)
        broker = Broker(settings)
        if not selftest:
            try:
                run(broker, ready=lambda: _welcome(broker, folder, new=new))
            except ListenError as error:
                raise CommandError(f"{error} Or let the system choose: --curve-port 0 --tls-port 0.") from None
            return
        with broker:
            passed = _selftest(broker, folder, new=new)
    raise typer.Exit(0 if passed else 1)


@contextlib.contextmanager
def _alone(folder: Path, *, may_share: bool) -> Iterator[None]:
    """Locks out a second `up`, which would change the profiles to lead to itself."""
    try:
        handle = os.open(folder / ".up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{folder} cannot be written: {error.strerror}. Name another --state folder.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not may_share:
                raise CommandError(
                    f"A broker is running with {folder} already. Use that one, stop it, or name another --state "
                    "folder and other ports."
                ) from None
        yield
    finally:
        os.close(handle)


def _client(broker: Broker, folder: Path, name: str, transport: str) -> Client:
    """A client with one of the state folder's profiles that talks to this broker over one transport."""
    profile = Profile.load(str(_profile(broker, folder, name)))
    port = broker.port(transport.upper())
    endpoints = tuple(
        endpoint._replace(url=f"{transport}://127.0.0.1:{port}")
        for endpoint in profile.endpoints
        if endpoint.scheme == transport
    )[:1]
    return Client(profile._replace(endpoints=endpoints), timeout=5.0)


def _profile(broker: Broker, folder: Path, name: str) -> Path:
    return folder / broker.config.credentials.folder / "profiles" / name


def _point_profiles(broker: Broker, folder: Path) -> None:
    """Writes the broker's actual ports into the state folder's own profiles, so that the printed commands work even if
    the ports differ from last time or the system chose them."""
    ports = {"tls": broker.port("TLS"), "curve": broker.port("CURVE")}
    for name in ("manager", "reader"):
        file = _profile(broker, folder, name) / "profile.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        before = json.dumps(document)
        for endpoint in document["endpoints"]:
            scheme, _, rest = endpoint["url"].partition("://")
            endpoint["url"] = f"{scheme}://{rest.rpartition(':')[0]}:{ports[scheme]}"
        if json.dumps(document) != before:
            write(file, json.dumps(document, indent=2) + "\n")


def _pools(broker: Broker, folder: Path, *, new: bool) -> PoolList:
    """The existing pools; an empty database gets examples first."""
    with _client(broker, folder, "manager", "tls") as client:
        if new and broker.config.farm_address is None and not client.list_pools().pools:
            client.register_hosts(_EXAMPLE_HOSTS)
            for name, hosts in _EXAMPLE_POOLS.items():
                client.create_pool(name, hosts, description="An example; delete it when you have your own")
        return client.list_pools()


def _welcome(broker: Broker, folder: Path, *, new: bool) -> None:
    _point_profiles(broker, folder)
    try:
        named = [pool.name for pool in _pools(broker, folder, new=new).pools if pool.hosts]
    except AfpoolsError as error:
        warn(str(error))
        named = []
    command = shlex.quote(_typed())
    say("")
    say("The broker serves. Try in a second terminal:", "bold green")
    say("")
    for line in (
        f"export AFPOOLS_PROFILE={shlex.quote(str(_profile(broker, folder, 'manager')))}",
        f"{command} pool list",
        f"{command} mask {shlex.quote(named[0])}" if named else f"{command} pool create fx 'pc-[01-40]'",
        f"{command} health",
        f"{command} manager",
    ):
        say(f"  {line}")
    say("")
    say(f"Ctrl-C stops it. Everything is kept in {folder}.")
    say("")


def _typed() -> str:
    """The command line that starts this program."""
    found = shutil.which("afpools")
    same = found is not None and Path(sys.argv[0]).exists() and Path(found).samefile(sys.argv[0])
    return "afpools" if same else sys.argv[0]


def _selftest(broker: Broker, folder: Path, *, new: bool) -> bool:
    """Asks as a client would. Prints the result for people; returns it for scripts."""
    try:
        _pools(broker, folder, new=new)
        for transport in ("tls", "curve"):
            with _client(broker, folder, "reader", transport) as client:
                pools = client.list_pools().pools
                say(f"{transport.upper()}: pools: " + (", ".join(f"{p.name} ({p.hosts})" for p in pools) or "none yet"))
                for pool in [pool for pool in pools if pool.hosts][:1]:
                    mask = client.exclude_mask(pool.name, style="list").mask
                    say(f"{transport.upper()}: mask of {pool.name}: {mask or '(empty: every known host is in it)'}")
    except AfpoolsError as error:
        fail(f"The self-test failed: {error}")
        return False
    say("The self-test passed.")
    return True
