"""One broker's keeper of fences as a separate process: `python -m tests.broker.live.keeping NAME STORE PORT`.

It stops when its input ends. The lease lasts two seconds, so that takeovers are quick.
"""

from __future__ import annotations

import sys

from tests.broker.store.places import following

from afpools_broker.farm.afserver import ask
from afpools_broker.farm.farm import FarmWatch
from afpools_broker.live.keeper import FenceKeeper, Settings
from afpools_broker.live.lease import LeaseKeeper
from afpools_broker.store import open_store


def main() -> None:
    """Keeps fences."""
    name, uri, port = sys.argv[1:]
    address = ("127.0.0.1", int(port))
    store = open_store(uri, timeout=20)
    with following(store) as keeper:
        FarmWatch(address, interval=60, timeout=20, store=store, changed=keeper.see_farm).poll()
        fences = FenceKeeper(
            lambda request: ask(address, request, timeout=20),
            address,
            keeper=keeper,
            store=store,
            name=name,
            settings=lambda: Settings(timeout=20),
            lease=LeaseKeeper(store, name, seconds=2, renew=0.2, margin=0.7),
        )
        fences.start()
        sys.stdin.read()
        fences.stop(wait=10)
    store.close()


if __name__ == "__main__":
    main()
