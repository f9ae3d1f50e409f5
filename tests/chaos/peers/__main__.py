"""A peer's process: attacks until it is killed."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import msgspec

from . import Peer, PeerSpec
from .catalogue import PEERS

# In case nobody kills us.
_LONGEST_SECONDS = 600.0


def main() -> None:
    """Attacks until it is killed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 20_000), hard))
    attack = PEERS[sys.argv[1]]
    peer = Peer(msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=PeerSpec))
    until, parent = time.monotonic() + _LONGEST_SECONDS, os.getppid()
    while time.monotonic() < until and os.getppid() == parent:
        attack(peer)


if __name__ == "__main__":
    main()
