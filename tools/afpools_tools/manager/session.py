"""Who may use the running Pool Manager.

Strategy: everything else in the same browser, and every other user on the same machine, is hostile. Nobody has used our
address before us, because it is new each time (serving.py). Nothing that a browser sends by itself is a credential:
browsers send a cookie to every port of an address, and another port may belong to somebody else's web server. The
secret is in a header that only our own page's script sets. The page gets it in exchange for a token that works once,
and the token comes after the # of the address, which browsers do not send.

If a token is used twice, two parties knew it, and nobody can tell which of them was meant. So the session that it
opened ends, and the terminal, which only its owner can read, shows another address.

The name in the Host header must be ours; otherwise a page whose name was pointed at 127.0.0.1 after it was loaded (DNS
rebinding) would count as ours. `localhost` is not ours: browsers may resolve it to [::1], where somebody else can
listen at the same port and would share everything that the browser stores under that name.
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
    # No string ever becomes markup: a second defence behind the front end's own escaping.
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}

EXCHANGE = "/api/session"
"""Where a token is exchanged: the only request that needs no secret."""


class TokenRefused(Exception):
    """A token is refused.

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
    """The tokens that a running Pool Manager has given out, and the secrets given in exchange. Threads may share it.

    Only digests are kept, so that a look-up takes equally long for a good guess and a bad one.

    Args:
        host: the address we listen at; not a name.
        port: the port we listen at.

    Attributes:
        origin: the origin of our pages.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = f"{host}:{port}"
        self.origin = f"http://{self._host}"
        self._lock = threading.Lock()
        self._unused: dict[bytes, Callable[[], None]] = {}
        # The secret that was given for each token.
        self._used: dict[bytes, bytes] = {}
        self._secrets: set[bytes] = set()

    def new_address(self, used: Callable[[], None] = lambda: None) -> str:
        """Makes an address that opens one tab, once.

        Args:
            used: called after the address has been used, in any thread.
        """
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._unused[_digest(token)] = used
        return f"{self.origin}/#token={token}"

    def exchange(self, token: str) -> tuple[str, Callable[[], None]]:
        """Exchanges a token for a new secret. Returns the secret, and the function to call now that the token is used.

        Raises:
            TokenRefused: the token was used before, and this call has ended the session that it opened; or there is no
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
        """The refusal for a request; None if it may pass."""
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
    """ASGI middleware: refuses what the session refuses, and adds the headers to every answer."""

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
                # Names of hosts and pools do not belong in a cache on disk. Our own modules are revalidated, so that an
                # updated Pool Manager does not run an old page.
                static = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        app = self._session.refuse(scope) or self._app
        await app(scope, receive, send_with_headers)


def given_secret(headers: Headers) -> str:
    """The secret in a request; empty if there is none."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret if scheme == "Bearer" else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
