"""A broker's client for measurements: one TLS connection that is ready for requests, and nothing around it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from afpools import zmtp


def client_context(profile: Path) -> ssl.SSLContext:
    """TLS with the credentials of a profile."""
    context = ssl.create_default_context(cafile=str(profile / "ca.pem"))
    context.load_cert_chain(profile / "client.pem")
    return context


def connected(context: ssl.SSLContext, port: int) -> tuple[ssl.SSLSocket, zmtp.Connection]:
    """A connection to a broker on this machine, after both handshakes, and its framing.

    Raises:
        OSError: nobody listens there, or the broker refuses the certificate.
    """
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
    framing = zmtp.Connection(socket_type="REQ", as_server=False, accepts=frozenset({"ROUTER"}), max_message=1 << 20)
    connection.sendall(framing.data_to_send())
    while not framing.ready:
        framing.receive_data(connection.recv(65536))
    return connection, framing
