"""Who may use the running Pool Manager.

Strategy: whatever runs in the same browser, or on the same machine as another user, is hostile. It has not been at our
address before us, because that is a new one each time (serving.py). Nothing that a browser sends by itself is a
credential: browsers send a cookie to every port of an address, and another port may belong to somebody else's web
server. The secret goes in a header that only the script of our own page sets. The page gets it in exchange for a token
that works once, and the token comes after the # of the address, which browsers keep to themselves.

A token that is used twice was known to two parties, and nobody can tell which of them was meant. So the session that it
opened ends, and the terminal, which only its owner reads, shows another address.

The name in the Host header must be ours, or a page whose name was pointed at 127.0.0.1 after it was loaded (DNS
rebinding) would count as ours. `localhost` is not ours: browsers may take it for [::1], where somebody else can listen
at the same port, and everything that the browser keeps under that name would be theirs as well.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # No string ever becomes markup: a second fence behind the front end's own escaping.
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}

EXCHANGE = "/api/session"
"""Where a token is exchanged: the one question that needs no secret."""


class TokenRefused(Exception):
    """A token opens nothing.

    Args:
        code: `used_token` or `unknown_token`.
        message: what happened, for people.

    Attributes:
        code: the same.
        message: the same.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Session:
    """The tokens that a running Pool Manager has given out, and the secrets in exchange. May be shared by threads.

    Only digests are kept: looking one up takes as long for a good guess as for a bad one.

    Args:
        host: the address we listen at, and no name.
        port: the same.

    Attributes:
        origin: of our pages.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = f"{host}:{port}"
        self.origin = f"http://{self._host}"
        self._lock = threading.Lock()
        self._unused: dict[bytes, Callable[[], None]] = {}
        # Which secret was given for a token.
        self._used: dict[bytes, bytes] = {}
        self._secrets: set[bytes] = set()

    def new_address(self, used: Callable[[], None] = lambda: None) -> str:
        """An address that opens one tab, once.

        Args:
            used: called after that has happened, in any thread.
        """
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._unused[_digest(token)] = used
        return f"{self.origin}/#token={token}"

    def exchange(self, token: str) -> tuple[str, Callable[[], None]]:
        """A new secret for a token, which is spent by that; and what to call now that it is used.

        Raises:
            TokenRefused: it was used before, and the session that it opened has ended with this call; or there is no
                such token.
        """
        given = _digest(token)
        with self._lock:
            used = self._unused.pop(given, None)
            if used is not None:
                secret = secrets.token_urlsafe(32)
                self._used[given] = _digest(secret)
                self._secrets.add(_digest(secret))
                return secret, used
            if given in self._used:
                self._secrets.discard(self._used[given])
                raise TokenRefused(
                    "used_token",
                    "This address was used before. Nobody can tell whether that was you, so the session that it "
                    "opened has ended.",
                )
        raise TokenRefused(
            "unknown_token",
            "This address does not belong to the Pool Manager that is running now. It was mistyped, or comes from one "
            "that has ended.",
        )

    def knows(self, secret: str) -> bool:
        """Whether a secret was given out, and its session has not ended."""
        with self._lock:
            return _digest(secret) in self._secrets

    def refuse(self, scope: Scope) -> Response | None:
        """The refusal that a request gets; None for one that may pass."""
        headers = Headers(scope=scope)
        if headers.get("host") != self._host:
            return PlainTextResponse(f"This is not the address of this Pool Manager, which is {self.origin}.", 421)
        origin = headers.get("origin")
        if origin is not None and origin != self.origin:
            return _refusal(403, "foreign_origin", "This request comes from another site's page.")
        path: str = scope["path"]
        if not path.startswith("/api/"):
            return None
        asks = scope["method"] in ("GET", "HEAD")
        if headers.get("sec-fetch-site", "same-origin") != "same-origin" or (origin is None and not asks):
            return _refusal(403, "foreign_origin", "This request comes from another site's page.")
        if path != EXCHANGE and not self.knows(given_secret(headers)):
            return _refusal(401, "no_session", "This session has ended.")
        return None


class Guard:
    """ASGI middleware: refuses what the session refuses, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, session: Session) -> None:
        self._app = app
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                # Names of hosts and pools do not belong into a cache on disk; our own modules are asked for again, so
                # that an updated Pool Manager does not run yesterday's page.
                static = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        app = self._session.refuse(scope) or self._app
        await app(scope, receive, send_with_headers)


def given_secret(headers: Headers) -> str:
    """The secret that a request carries; empty where it carries none."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret if scheme == "Bearer" else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
