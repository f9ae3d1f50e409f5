"""The port that Prometheus scrapes: plain HTTP, for reading only.

Strategy: scrapers get threads of their own and share nothing with the listeners. There are few of these threads: one
scraper too many ends the oldest, so neither a scraper that hangs nor one that sends a byte at a time can take the port
from the others.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
from collections import deque

from prometheus_client import CollectorRegistry, MetricsHandler

from .peer_log import PeerLog, host_of

log = logging.getLogger("afpools")

PATH = "/metrics"

# At once: two Prometheus servers, and people with a browser.
_SCRAPERS = 8

# Seconds without a byte after which a scraper is given up.
_PATIENCE_SECONDS = 10.0

# How often the thread that accepts looks whether it is to stop.
_POLL_SECONDS = 0.1


class _Handler(MetricsHandler):
    timeout = _PATIENCE_SECONDS

    def do_GET(self) -> None:  # noqa: N802 - as http.server calls it
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, f"The metrics are at {PATH}")
            return
        super().do_GET()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    # Otherwise stopping would wait for scrapers that do not read.
    block_on_close = False

    def __init__(self, address: str, port: int, handler: type[_Handler], peer_log: PeerLog) -> None:
        if ipaddress.ip_address(address).version == 6:
            self.address_family = socket.AF_INET6
        self._peer_log = peer_log
        self._open: deque[socket.socket] = deque()
        self._changing = threading.Lock()
        super().__init__((address, port), handler)

    def server_bind(self) -> None:
        # HTTPServer's own would ask DNS for this machine's name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self._changing:
            self._open.append(request)
            oldest = self._open.popleft() if len(self._open) > _SCRAPERS else None
            if oldest is not None:
                # Its thread closes it then.
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        with self._changing, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        if not isinstance(sys.exception(), OSError):  # a scraper that hung up is not worth a line
            host = client_address[0] if isinstance(client_address, tuple) else ""
            self._peer_log.bug(host_of(str(host)), "metrics", f"A scrape of {PATH} failed")


class Scrapes:
    """Answers scrapes.

    Args:
        address: the IP address to listen on.
        port: 0 lets the system choose.
        registry: the metrics.
        peer_log: for bugs that a scraper can cause.
    """

    def __init__(self, address: str, port: int, registry: CollectorRegistry, peer_log: PeerLog) -> None:
        self.address = address
        self.port = port
        self._handler = type("_HandlerOf", (_Handler,), {"registry": registry})
        self._peer_log = peer_log
        self._server: _Server | None = None

    def start(self) -> None:
        """Opens the port, and starts answering; `port` is the real one afterwards.

        Raises:
            OSError: the port cannot be opened.
        """
        server = self._server = _Server(self.address, self.port, self._handler, self._peer_log)
        self.port = server.server_port
        threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="afpools-metrics", daemon=True
        ).start()
        log.info(
            "Metrics: http://%s:%d%s", f"[{self.address}]" if ":" in self.address else self.address, self.port, PATH
        )

    def stop(self) -> None:
        """Closes the port; does not wait for scrapes in progress. May be called without `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
