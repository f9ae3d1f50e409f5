"""Keeps a picture of a store up to date by reading only what has changed.

Strategy: every reader holds the same lock, and what was read is in the picture before the lock is released. So of two
reads of a pool the later one counts, and an older picture never replaces a newer one. A read of everything is done in
pieces, between which others may read; what they have read since takes precedence over the piece it was in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping

from ..pools.pool import Contents
from ..store import PoolStore, StoreUnavailable
from ..store.rows import REGISTERED, Key, Row, StorePicture

log = logging.getLogger("afpools.store")

# Somebody who loads a large database for the first time wants to see progress. In seconds.
_PROGRESS_SECONDS = 5.0

# How often the next piece is requested if the store became unreachable during the first read of everything.
_RETRY_SECONDS = 0.5

# Between two pieces, others get a turn: a lock alone would go to the same thread again.
_TURN_SECONDS = 0.001

# The author of a change waits at most this long until it is visible here. Clients give up after two seconds.
_READ_BACK_SECONDS = 1.0


class Following:
    """The picture of a store. Safe to use from any thread.

    Args:
        store: where pools are kept.
        show: called with new contents, in order, one at a time.
    """

    def __init__(self, store: PoolStore, show: Callable[[Contents], None]) -> None:
        self._store = store
        self._show = show
        self._turn = threading.Lock()  # held while the store is read, and until what was read is shown
        self._picture: StorePicture | None = None
        self._read_since: dict[Key, Row | None] | None = None  # while everything is read in pieces
        self._looked_at: set[Key] = set()
        self._shown: Contents | None = None
        self.progress = ""
        """A sentence about the progress of the first read of everything; empty if there is nothing to report."""

    def read_all(self, stop: threading.Event) -> None:
        """Reads everything; gives up if `stop` is set. The first time, it waits for a store that becomes unreachable
        meanwhile and keeps what it has read, because without that there is nothing to answer from.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        begun = said = time.monotonic()
        trouble = ""
        rows: dict[Key, Row] = {}
        pieces = self._store.scan()
        try:
            while not stop.is_set():
                with self._turn:
                    if self._read_since is None:
                        self._read_since = {}
                    piece = next(pieces, None)
                    if piece is None:
                        self._take_all(rows)
                        break
                    rows |= piece.rows
                    for key in piece.rows:
                        self._read_since.pop(key, None)
                if piece.trouble is not None:
                    if self._picture is not None:
                        raise piece.trouble
                    if str(piece.trouble) != trouble:
                        trouble = str(piece.trouble)
                        log.error("%s %d of %d pools have been read so far.", trouble, piece.done, piece.total)
                    self.progress = f"{piece.done:,} of {piece.total:,} pools have been read so far. {trouble}"
                    stop.wait(_RETRY_SECONDS)
                    continue
                if trouble:
                    trouble = ""
                    log.info("The database (%s) answers again; what had been read is kept.", self._store.kind)
                if self._picture is None:
                    self.progress = f"{piece.done:,} of {piece.total:,} pools have been read so far."
                if time.monotonic() >= said + _PROGRESS_SECONDS:
                    said = time.monotonic()
                    log.info(
                        "Reading the database (%s): %d of %d pools so far", self._store.kind, piece.done, piece.total
                    )
                time.sleep(_TURN_SECONDS)
        finally:
            self._read_since = None
            self.progress = ""
        if said > begun:
            log.info(
                "Read the database (%s): %d pools in %.1f s", self._store.kind, len(rows), time.monotonic() - begun
            )

    def _take_all(self, rows: dict[Key, Row]) -> None:
        for key, row in (self._read_since or {}).items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        picture = self._picture or StorePicture()
        picture.replace(rows)
        self._show_now(picture)
        self._picture = picture

    def read(self, names: Collection[str]) -> None:
        """Reads again the pools that have or had these names; the empty name stands for the registered hosts.

        Raises:
            StoreUnavailable: the store does not answer, or others have been reading for too long.
        """
        if not self._turn.acquire(timeout=_READ_BACK_SECONDS):
            raise StoreUnavailable(f"The database ({self._store.kind}) is still being read for another request.")
        try:
            picture = self._picture
            if picture is None:
                return
            keys = picture.keys(names) | ({REGISTERED} if "" in names else set())
            self._read(picture, keys, [name for name in names if name])
            self._show_now(picture)
        finally:
            self._turn.release()

    def read_changed(self, keys: Mapping[Key, str]) -> None:
        """Reads what a sign of the store names, unless it has been read since.

        Args:
            keys: as `Sign.keys`.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with self._turn:
            picture = self._picture
            if picture is None:
                return
            news = [key for key, change in keys.items() if not _has(picture.row(key), change)]
            if news:
                self._read(picture, news, ())
            self._show_now(picture)

    def _show_now(self, picture: StorePicture) -> None:
        self._settle(picture)
        if picture.contents is not self._shown:
            self._show(picture.contents)
            self._shown = picture.contents

    def _read(self, picture: StorePicture, keys: Collection[Key], names: Collection[str]) -> None:
        found: dict[Key, Row | None] = {**dict.fromkeys(keys), **self._store.read(keys, names)}
        picture.take(found)
        if self._read_since is not None:
            self._read_since.update(found)

    def _settle(self, picture: StorePicture) -> None:
        """Reads again the pools that share a name: one of them may have been read before the other took it."""
        if picture.claimants - self._looked_at:
            self._read(picture, picture.claimants, ())
        self._looked_at = picture.claimants


def _has(row: Row | None, change: str) -> bool:
    """Whether a row was read after this change."""
    return bool(change) and row is not None and row.change == change
