"""Runs the Pool Manager: the port, the server, the browser."""

from __future__ import annotations

import html
import logging
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from afpools import Client
from afpools.profile import Profile

from ..errors import ToolError
from .api import Api
from .app import make_app
from .live import Live
from .scan_job import ScanJob
from .session import Session
from .usage import Usage

DEFAULT_PORT = 5580

# Seconds. A farm of 20,000 hosts is an answer of 3 MB.
_LIVE_TIMEOUT = 5.0
_CLICK_TIMEOUT = 5.0
# Seconds. afserver carries out changes of jobs once a second, and the broker reads them back: two or three seconds for
# 1,000 of them.
_ORDER_TIMEOUT = 15.0

# Seconds that current requests may still take after Ctrl-C.
_GRACE = 1


class CannotListen(ToolError):
    """The port is taken."""


class Serving:
    """A running Pool Manager.

    Args:
        profile: says which broker, and has our credentials.
        listening: a socket on an address that no other machine can reach.
        ready: called in its own thread once requests are answered.
    """

    def __init__(self, profile: Profile, listening: socket.socket, ready: Callable[[], None]) -> None:
        self._listening = listening
        self._client = Client(profile, timeout=_CLICK_TIMEOUT)
        self._orders = Client(profile, timeout=_ORDER_TIMEOUT)
        usage = Usage()
        self._live = Live(Client(profile, timeout=_LIVE_TIMEOUT), usage)
        self._scan = ScanJob()
        session = Session(*listening.getsockname())
        self.new_address = session.new_address
        self._api = Api(self._client, self._orders, self._live, usage, self._scan)
        config = uvicorn.Config(
            make_app(self._api, session),
            log_config=None,
            access_log=False,
            # The header would tell anybody who can connect what runs here.
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = _Server(config, self._stopping, ready)

    def run(self) -> None:
        """Serves until `stop`; in the main thread, also until SIGTERM or Ctrl-C."""
        self._live.start()
        try:
            self._server.run(sockets=[self._listening])
        finally:
            self._stopping()
            self._scan.close()
            # It waits for its current call, and nobody needs to wait for that.
            for client in (self._client, self._orders):
                threading.Thread(target=client.close, name="afpools-close", daemon=True).start()

    def stop(self) -> None:
        """Ends `run` within two seconds. May be called from any thread."""
        self._stopping()
        self._server.should_exit = True

    def _stopping(self) -> None:
        """Tells everything that takes long to end."""
        self._api.stopping.set()
        self._scan.cancel()
        self._live.stop()


class _Server(uvicorn.Server):
    """Reports when it answers requests, and when stopping, ends long work before it waits for it."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None], ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # A browser may take its time to start, and some of them block.
        threading.Thread(target=self._ready, name="afpools-ready", daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Not uvicorn's own handler, which finally kills the process with the signal: being told to stop is not a
        # failure.
        self._stopping()
        # From now on, it would print a traceback for each request that it cancels.
        logging.getLogger("uvicorn.error").disabled = True
        self.force_exit = self.should_exit
        self.should_exit = True


@contextmanager
def listen(port: int | None) -> Iterator[socket.socket]:
    """A listening socket that no other machine can reach.

    Args:
        port: a port of 127.0.0.1, 0 for any free one. If None, a loopback address that nobody can have predicted:
            somebody who had the address before could have left a service worker or a cached page there, which the
            browser would run instead of ours and give the token to.

    Raises:
        CannotListen: the port is taken.
    """
    try:
        listening = _listen_somewhere() if port is None else _listen_at("127.0.0.1", port)
    except OSError as error:
        raise CannotListen(
            f"Port {port or DEFAULT_PORT} of 127.0.0.1 cannot be opened: {error.strerror}. Name another with --port, "
            "or leave it out."
        ) from None
    with listening:
        yield listening


def _listen_somewhere() -> socket.socket:
    # All of 127.0.0.0/8 is this machine, to Linux and Windows and to browsers.
    host = ".".join(map(str, (127, *(1 + secrets.randbelow(254) for _ in range(3)))))
    for address in ((host, DEFAULT_PORT), (host, 0)):
        try:
            return _listen_at(*address)
        except OSError:
            # Somebody listens at this port on all addresses; or, on macOS, only 127.0.0.1 exists.
            continue
    return _listen_at("127.0.0.1", 0)


def _listen_at(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # Listen now: until then, Linux would let a second Pool Manager have the same port.
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def open_browser(new_address: Callable[..., str], file: Path) -> None:
    """Opens a new address in the browser, through a file that only we can read: everybody can list this machine's
    processes with their arguments, and the token must not be among these.

    Args:
        new_address: as `Session.new_address`.
        file: the file to write, in a folder that only we can access; it is removed when the address is used.
    """
    address = new_address(used=lambda: file.unlink(missing_ok=True))
    file.touch(0o600)
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(address)}">'
        "<title>Pool Manager</title>",
        encoding="utf-8",
    )
    webbrowser.open(file.as_uri())
