"""Pools in MongoDB, shared by every broker of a studio and with people who edit them by hand.

Strategy: no transactions, so that a single server works like a replica set. A pool's document is the only truth about
it and carries the entry of its last change; one atomic update swaps both, and only while the document is exactly what
was read. `history` is a copy of those entries, made after the swap. Before an entry is overwritten, the broker makes
sure that the copy exists, so a broker may die between any two steps. A deletion is a swap too: to a tombstone, which
the first broker that meets it removes as soon as history has its entry.

Everything that is acknowledged was written by a majority. Reads that decide a write are `local`: if they were wrong,
the swap fails, whereas a majority's older view could hide a change that is just being replicated.

connection.py    deadlines, and sentences for what goes wrong
documents.py     how pools and history are written and read
reading.py       what is read
changing.py      how a change is made, once
watching.py      how changes are noticed
fingerprints.py  which documents differ
comparing.py     the same, asked of the server
claims.py        names that several documents claim, and the decision between them
repairing.py     carries that decision out
backups.py       everything, as records of a backup
"""

from __future__ import annotations

from .backups import MongoBackups
from .changing import MAX_DOCUMENT_BYTES
from .connection import DEFAULT_DATABASE
from .repairing import MongoRepairing

__all__ = ["DEFAULT_DATABASE", "MAX_DOCUMENT_BYTES", "MongoStore"]


class MongoStore(MongoBackups, MongoRepairing):
    """A `PoolStore` in a MongoDB database, which may be the earlier project's.

    Args:
        uri: `mongodb://…` or `mongodb+srv://…`; it names the database, otherwise that is `afpools`.
        timeout: seconds that any call may take.
        poll_seconds: how often a server without change streams is polled.

    Raises:
        ValueError: `uri` is invalid.
    """
