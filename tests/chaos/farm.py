"""The farm of a run: a working afserver, with jobs that are kept on their pools, and what every mask allowed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from tests.afserver_jobs import excludes
from tests.working_afserver import Json, WorkingAfServer

from afpools.fence_note import Note, fingerprint, with_note

from .history import Fence

JOBS_PER_POOL = 4
"""Two jobs would be enough to see an action for several; more make it likelier that an action is cut in two."""

LATER_HOST = "afpools-registers-later"
"""A host that nobody ever put into a pool: every mask must exclude it."""


class Farm(WorkingAfServer):
    """An afserver of five rounds a second.

    Args:
        hosts: its renders.
        pools: names of those that jobs are in.
        anchor: the host that is in all of them when the jobs are sent.
    """

    def __init__(self, hosts: Sequence[str], pools: Sequence[str], anchor: str) -> None:
        super().__init__(tuple(hosts), round_seconds=0.2)
        self.renders: Json | None = None
        """Answered instead of the real data, if set."""
        self._pools, self._anchor = pools, anchor
        self._pool_of: dict[int, str] = {}

    def send_jobs(self) -> None:
        """Jobs that are in the pools, as our clients send them while a pool has the anchor only."""
        mask = f"(?!{self._anchor}$).*"
        for pool in self._pools:
            for number in range(JOBS_PER_POOL):
                data = with_note("", Note(pool, "", "", "either", fingerprint(mask, "regex")))
                job = self.send(
                    f"{pool}-{number}",
                    offline=True,
                    hosts_mask_exclude=mask,
                    hosts_mask_type="regex",
                    custom_data=data,
                )
                self._pool_of[self.job(job)["serial"]] = pool

    def _get(self, get: Json) -> Json:
        if get.get("type") == "renders" and self.renders is not None:
            return self.renders
        return super()._get(get)

    @property
    def keeper(self) -> str:
        """The broker that changed a job last; empty for none."""
        return next((str(each["host_name"]) for each in reversed(self.actions) if "params" in each), "")

    def fences(self, hosts: Iterable[str]) -> tuple[Fence, ...]:
        """Every mask that a job ever had, in order of time.

        Args:
            hosts: the hosts to look at; the result says which of them each mask allows.
        """
        judged = sorted({*hosts, self._anchor, LATER_HOST})
        let_in: dict[tuple[str, str], tuple[str, ...]] = {}
        with self.lock:
            masks = list(self.masks)
        found = []
        for at, serial, mask, mask_type in masks:
            if serial not in self._pool_of:
                continue
            key = (mask, mask_type)
            if key not in let_in:
                let_in[key] = tuple(host for host in judged if not excludes(mask, mask_type, host))
            found.append(Fence(at, f"job {serial}", self._pool_of[serial], let_in[key]))
        return tuple(found)

    def wait_until_still(self, seconds: float, *, within: float) -> None:
        """Waits until no mask has changed for this long; at most `within` seconds."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            last: tuple[Any, ...] = self.masks[-1] if self.masks else (0.0,)
            if time.monotonic() - last[0] > seconds:
                return
            time.sleep(0.2)
