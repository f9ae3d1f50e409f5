"""How a world begins: databases, certificates, brokers and their proxies, and the pools that stay.

Strategy: everything is started by one thread, kept in one `ExitStack`, and gone when the block ends, whatever state it
is in by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from tests.command import AFPOOLS, environment

from afpools_broker.protocol import Role
from afpools_tools.credentials.authority import Authority

from .asking import Asker, Spec
from .brokers import BrokerProcess
from .clock import Clock
from .farm import Farm
from .history import MEMBER, Cell, Outcome, Recorder
from .proxy import Network, Proxy, free_ports
from .stores import MongoSet, SqliteFile
from .world import ANCHOR, POOLS, Size, World


@contextmanager
def founded(
    folder: Path,
    make_store: Callable[[Network], contextlib.AbstractContextManager[MongoSet | SqliteFile]],
    *,
    brokers: int,
    size: Size,
    command: Sequence[str] = (str(AFPOOLS), "serve"),
    clock: Clock | None = None,
) -> Iterator[World]:
    """A `World` that runs until the block ends, with the pools that stay, and without clients yet.

    Args:
        folder: for everything; has to exist.
        make_store: makes the database.
        brokers: how many.
        size: of it all.
        command: what starts a broker.
        clock: that of the brokers; without, the machine's.
    """
    (folder / "history").mkdir()
    (folder / "logs").mkdir()
    with ExitStack() as stack:
        net = Network()
        stack.callback(net.close)
        store = stack.enter_context(make_store(net))
        farm = Farm([f"pc-{number:03d}" for number in range(1, 201)], POOLS, ANCHOR)
        stack.callback(farm.stop)
        authority = Authority.create(folder / "certs")
        made: list[BrokerProcess] = []
        fronts: dict[tuple[str, str], Proxy] = {}
        for name in ("alpha", "beta", "gamma")[:brokers]:
            tls, curve, tls_front, curve_front = free_ports(4)
            authority.issue_broker(name, ["127.0.0.1"], tls_port=tls, curve_port=curve)
            fronts[name, "tls"], fronts[name, "curve"] = net.proxy(tls, tls_front), net.proxy(curve, curve_front)
            config = folder / f"{name}.toml"
            config.write_text(_settings(name, store.uri, farm.address[1], tls, curve, size.scale))
            broker = BrokerProcess(
                name,
                list(command),
                config,
                folder / "logs" / f"{name}.log",
                {"tls": tls, "curve": curve},
                {**environment(folder), **(clock.variables if clock else {})},
            )
            stack.callback(broker.stop)
            broker.start()
            made.append(broker)
        file: BinaryIO = stack.enter_context((folder / "history" / "by-hand.jsonl").open("ab", buffering=0))
        place = World(folder, store, net, made, authority, farm, size, Recorder(file), fronts, clock=clock)
        stack.callback(place.kill_actors)
        _make_pools(place)
        farm.send_jobs()
        yield place


def _settings(name: str, uri: str, farm: int, tls: int, curve: int, scale: float) -> str:
    return (
        f'[broker]\nname = "{name}"\n[store]\nuri = "{uri}"\n[farm]\nserver = "127.0.0.1:{farm}"\n'
        f"[tls]\nport = {tls}\n[curve]\nport = {curve}\n"
        f"[live]\nenabled = true\n"
        # Short enough that heartbeats take effect while a fault lasts.
        f"[limits]\nconnections = {max(50, int(2000 * scale))}\nheartbeat_seconds = 1\n"
    )


def _make_pools(place: World) -> None:
    """Makes the permanent pools, as a writer would, so that the history begins with them."""
    profile = place.profile("setup", Role.MANAGER, [(place.brokers[0], "tls")], direct=True)
    spec = Spec("setup", str(profile), "", 0, POOLS, 0)
    asker = Asker(spec, place.recorder)
    for pool in POOLS:
        sets = (Cell("pools", pool, MEMBER), Cell(f"hosts:{pool}", ANCHOR, MEMBER))
        made = asker.write(
            "pools.create",
            lambda request_id, pool=pool: asker.client.create_pool(
                pool, [ANCHOR], new_hosts=True, request_id=request_id
            ),  # type: ignore[misc]
            sets,
        )
        if made.outcome is not Outcome.OK:
            raise RuntimeError(f"The first pools cannot be made: {made.message}")
    asker.client.close()
