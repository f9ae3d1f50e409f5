"""Who is let in.

Strategy: whatever runs in the same browser, or on the same machine as another user, is hostile. The address that is
printed holds a token that works once; it is exchanged for a cookie that no script can read and no other site's page can
send. What changes something must also carry a value that only our own page could have read. The name in the Host header
must be ours, or a page whose name was pointed at 127.0.0.1 after it was loaded (DNS rebinding) would count as ours.
"""

from __future__ import annotations

import hmac
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
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

CSRF_HEADER = "X-CSRF-Token"


class Session:
    """The one session of a running manager.

    Args:
        port: where we listen. Cookies do not know ports: it is part of the cookie's name, so that two managers on one
            machine do not throw each other's sessions out.

    Attributes:
        csrf: what state-changing requests must carry.
        cookie_name: of the session's cookie.
    """

    def __init__(self, port: int) -> None:
        self._token: str | None = secrets.token_urlsafe(32)
        self._secret = secrets.token_urlsafe(32)
        self.csrf = secrets.token_urlsafe(32)
        self.cookie_name = f"afpools-manager-{port}"
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.address = f"http://127.0.0.1:{port}/?token={self._token}"

    def exchange(self, token: str) -> str | None:
        """The cookie's value for the token, which is spent by that; None for a wrong or a spent one."""
        if self._token is None or not _same(token, self._token):
            return None
        self._token = None
        return self._secret

    def knows(self, headers: Headers) -> bool:
        """Whether a request carries the session's cookie."""
        # Of each cookie by itself, as browsers read them: what else runs on this machine shares its cookies with us,
        # and the standard library's parser reads none of them where one has, say, JSON in it.
        return _same(cookie_parser(headers.get("cookie", "")).get(self.cookie_name, ""), self._secret)

    def set_cookie(self, response: Response, secret: str) -> None:
        """Gives the cookie to the browser, until that is closed."""
        response.set_cookie(self.cookie_name, secret, httponly=True, samesite="strict", path="/")

    def refuse(self, scope: Scope) -> Response | None:
        """The refusal that a request gets; None for one that may pass."""
        headers = Headers(scope=scope)
        if headers.get("host") not in self.hosts:
            return PlainTextResponse("This is not the address of this Pool Manager.", 421)
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self.hosts:
            return _refusal(403, "foreign_origin", "This request comes from another site's page.")
        path: str = scope["path"]
        if not path.startswith("/api/"):
            return None
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return _refusal(403, "foreign_origin", "This request comes from another site's page.")
        if not self.knows(headers):
            return _refusal(
                401, "no_session", "This session has ended. Open the address that `afpools manager` prints."
            )
        changes = scope["method"] not in ("GET", "HEAD")
        if changes and (origin is None or not _same(headers.get(CSRF_HEADER, ""), self.csrf)):
            return _refusal(403, "no_csrf_token", "This request does not come from our own page.")
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
                # Names of hosts and pools do not belong into a cache on disk; our own modules are asked for anew, so
                # that an updated manager does not run yesterday's page.
                static = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        app = self._session.refuse(scope) or self._app
        await app(scope, receive, send_with_headers)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
