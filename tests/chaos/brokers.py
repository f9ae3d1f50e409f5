"""A broker's process: started, stopped, killed, watched, and restarted if it ends by itself."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil

from .history import Exit

_START_SECONDS = 60.0
_LAST_LINES = 4


class BrokerProcess:
    """One broker.

    Args:
        name: its name in the configuration and its certificate.
        command: what starts it; `-c broker.toml` is added.
        config: its broker.toml.
        log: file that its standard error goes to.
        ports: where it listens itself, by transport; clients may go through a proxy instead.
        environment: of the process.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        config: Path,
        log: Path,
        ports: dict[str, int],
        environment: dict[str, str],
    ) -> None:
        self.name = name
        self.ports = ports
        self.log = log
        self.exits: list[Exit] = []
        self._command = [*command, "-c", str(config)]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        # One thread acts on it while another observes the result.
        self._lock = threading.RLock()
        self._retired = False

    def start(self) -> None:
        """Starts it if it is not running, and waits until it serves. A broker that waits for its store also serves.

        Raises:
            RuntimeError: it does not start.
        """
        with self._lock:
            if not self.running:
                self._start()

    def _start(self) -> None:
        begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while b" serves; store: " not in self.log.read_bytes()[begun:]:
            if self._retired or self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"The broker {self.name} does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def stop(self) -> None:
        """Ends it for good, as an administrator would; kills it if that takes too long."""
        self._retired = True
        with self._lock:
            if self._process is not None:
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
                self.kill()

    def signal(self, number: int) -> None:
        """Sends a signal if the process is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The process id; 0 while there is none."""
        return self._process.pid if self.running and self._process else 0

    @property
    def running(self) -> bool:
        """Whether the process exists, stopped or not."""
        return self._process is not None and self._process.poll() is None

    def noticed_end(self) -> Exit | None:
        """The unrequested end of a process; reported once."""
        with self._lock:
            if self._retired or self._process is None or self._process.poll() is None:
                return None
            lines = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            found = Exit(self.name, time.monotonic(), self._process.returncode, tuple(lines))
            self.exits.append(found)
            self._process = None
            return found

    def memory(self) -> float:
        """Resident memory in MB; 0 for none."""
        try:
            return psutil.Process(self.pid).memory_info().rss / 1e6 if self.pid else 0.0
        except psutil.Error:
            return 0.0

    def log_lines(self) -> int:
        """How many lines it has written so far."""
        with self.log.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

    def limit_descriptors(self, spare: int | None) -> None:
        """Limits the process to this many more descriptors than it has open; None lifts the limit."""
        if not self.pid:
            return
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        if spare is None:
            soft = hard if hard != resource.RLIM_INFINITY else 65536
        else:
            soft = len(list(Path(f"/proc/{self.pid}/fd").iterdir())) + spare
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))
