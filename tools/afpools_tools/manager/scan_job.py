"""Runs network scans for the Pool Manager, one at a time, in a thread.

Strategy: pages start a scan, ask for its progress, and cancel it; none of them owns it, so it continues when a page is
reloaded. The result is kept in the same file that `afpools scan` uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any

from afpools import HostSummary

from ..network.addresses import NothingScanned, ScanError, own_target, parse_target, this_machine
from ..network.scan import Scanner, ScanResult, keep, last_result, mark

log = logging.getLogger("afpools.manager")

_PARTING_SECONDS = 1.0


class ScanJob:
    """Runs scans, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scanner: Scanner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[ScanResult] | None = None
        self._thread: threading.Thread | None = None
        self._cancelled = False
        self._unkept: ScanResult | None = None

    def start(self, network: str) -> None:
        """Starts a scan of a network.

        Raises:
            ScanError: the network cannot be scanned, or a scan is already in progress.
        """
        target = parse_target(network)
        with self._lock:
            if self.running:
                raise ScanError("A scan is already running. Cancel it, or wait until it ends.")
            self._scanner = Scanner(target, this_machine())
            self._cancelled, self._unkept = False, None
            self._thread = threading.Thread(target=self._run, args=(self._scanner,), name="afpools-scan", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Ends the current scan, if there is one; what it has found is kept."""
        with self._lock:
            self._cancelled = True  # for a scan that has not started its task yet
            loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Ends the current scan, and gives it a moment to save what it has found."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(_PARTING_SECONDS)

    @property
    def running(self) -> bool:
        """Whether a scan is in progress."""
        return self._thread is not None and self._thread.is_alive()

    def state(self, hosts: Sequence[HostSummary]) -> dict[str, Any]:
        """The scan's progress, and what it or the last scan has found, compared with the farm.

        Args:
            hosts: the broker's hosts.
        """
        running = self.running
        found: dict[str, Any] = {"running": running, "own": "", "result": None, "warning": ""}
        try:
            own = own_target(this_machine())
            found["own"] = str(own.network)
            if own.narrowed_from:
                found["warning"] = (
                    f"This machine's network is {own.narrowed_from}, too large for one scan: {own.network} is "
                    "the part around its own address. Name another part to scan that."
                )
        except ScanError as error:
            found["own_error"] = str(error)
        if running and self._scanner is not None:
            network = self._scanner.target.network
            if network.is_global:
                found["warning"] = f"{network} is on the public internet. Cancel, unless these machines are yours."
            found["progress"] = self._scanner.progress._asdict()
            found["expected_seconds"] = self._scanner.expected_seconds
            result = self._scanner.result()
        elif self._unkept is not None:
            found["warning"] = "This result could not be written to its file, and is gone when the Pool Manager ends."
            result = self._unkept
        else:
            try:
                result = last_result()
            except NothingScanned:
                return found
            except ScanError as error:
                return {**found, "result_error": str(error)}
        found["result"] = {
            "network": str(result.network),
            "started": result.started.isoformat(),
            "seconds": result.seconds,
            "addresses": result.addresses,
            "tried": result.tried,
            "trouble": result.trouble,
            "machines": [
                {
                    "address": str(machine.finding.address),
                    "name": machine.name,
                    "resolved": machine.finding.resolved,
                    "this_machine": machine.finding.this_machine,
                    "render": machine.is_render,
                    "known": machine.host is not None,
                    "pools": machine.pools,
                }
                for machine in mark(result.findings, hosts)
            ],
        }
        return found

    def _run(self, scanner: Scanner) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._scan(scanner))
        with self._lock:
            self._loop = self._task = None
        try:
            keep(scanner.result())
        except ScanError as error:
            log.warning("%s", error)
            self._unkept = scanner.result()

    async def _scan(self, scanner: Scanner) -> None:
        task = asyncio.ensure_future(scanner.run())
        with self._lock:
            self._loop, self._task = asyncio.get_running_loop(), task
            if self._cancelled:
                task.cancel()
        await task
