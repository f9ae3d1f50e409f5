"""TLS handshakes in memory: two ends, no sockets, no threads."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca: Path, certificate: Path | None = None) -> ssl.SSLContext:
    """A context as Python 3.13 makes it by default, on any Python."""
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection after the handshake; raises the error of the end that rejected the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    open_ends = list(ends)
    for _ in range(10):
        for end in list(open_ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.remove(end)
        if not open_ends:
            return ends[1], ends[0]
    raise AssertionError("the handshake does not end")
