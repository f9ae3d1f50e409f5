"""Routes: pages, questions, changes, and the stream of what changes elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import mimetypes
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from afpools import AfpoolsError, BrokerRefused, BrokerUnreachable, OutcomeUnknown

from ..errors import ToolError
from .api import LONG_READS, READS, WRITES, Api
from .live import Live, View, difference
from .params import BadParameter, Export, Params
from .session import EXCHANGE, Guard, Session, TokenRefused, given_secret
from .workers import in_thread

log = logging.getLogger("afpools.manager")

STATIC = Path(__file__).with_name("static")

# A file of pools with 100,000 hosts is 2 MB.
_MAX_BODY = 16 * 1024 * 1024

# Anybody who can connect may try a token.
_MAX_TOKEN = 1000

# Seconds without news after which an empty line is sent, to notice a page that is gone.
_SIGN_OF_LIFE = 15.0

# Some systems register .js as text/plain, which browsers refuse to run.
mimetypes.add_type("text/javascript", ".js")


class _TooLarge(Exception):
    """A request is larger than allowed."""


class Token(Params):
    """What came after the # of the address."""

    token: str


def make_app(api: Api, session: Session) -> Starlette:
    """The application. The caller starts and stops `api.live`.

    Args:
        api: answers requests.
        session: decides who gets an answer.
    """
    routes: list[BaseRoute] = [
        # The page itself contains no data, so anybody may have it.
        Route("/", _index),
        # Browsers request it before they have read a page.
        Route("/favicon.ico", _icon),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route(EXCHANGE, partial(_exchange, api.live, session), methods=["POST"]),
        Route("/api/live", partial(_live, api.live, session)),
        Route("/api/export", partial(_export, api)),
    ]
    for name, (params, ask) in READS.items():
        routes.append(Route(f"/api/{name}", partial(_read, api, params, ask)))
    for name, (params, ask) in LONG_READS.items():
        routes.append(Route(f"/api/{name}", partial(_post, api, params, ask), methods=["POST"]))
    for name, (params, change) in WRITES.items():
        routes.append(Route(f"/api/{name}", partial(_write, api, params, change), methods=["POST"]))
    return Starlette(routes=routes, middleware=[Middleware(Guard, session=session)])


async def _index(_request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def _icon(_request: Request) -> Response:
    return FileResponse(STATIC / "icon.svg")


async def _exchange(live: Live, session: Session, request: Request) -> Response:
    """Exchanges a token for a secret."""
    try:
        token = msgspec.json.decode(await _body(request, _MAX_TOKEN), type=Token).token
        secret, used = session.exchange(token)
    except _TooLarge:
        return _error(413, "too_large", f"A token is shorter than {_MAX_TOKEN:,} bytes.")
    except msgspec.DecodeError as error:
        return _error(400, "bad_request", str(error))
    except TokenRefused as error:
        # Ends the streams of the session that has just ended.
        live.tell()
        return _error(403, error.code, error.message)
    # After the answer, and in a thread: it writes to a terminal, which may be slow.
    return _json({"secret": secret}, background=BackgroundTask(in_thread, used))


async def _live(live: Live, session: Session, request: Request) -> Response:
    """A stream of JSON lines: first everything, then what changes. An empty line means that there is no news."""
    secret = given_secret(request.headers)

    async def events() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()
        shown: View | None = None
        with live.watching(lambda: _tell(loop, news)):
            while not live.stopped and session.knows(secret):
                news.clear()
                view = live.view
                if view is not shown:
                    text = encoded(await in_thread(partial(difference, shown, view)))
                    shown = view
                    yield text + b"\n"
                try:
                    await asyncio.wait_for(news.wait(), _SIGN_OF_LIFE)
                except TimeoutError:
                    yield b"\n"

    return StreamingResponse(events(), media_type="application/jsonl")


def _tell(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, so nobody listens any more
        loop.call_soon_threadsafe(news.set)


async def _read(api: Api, params: type[Params], ask: Callable[[Api, Any], Any], request: Request) -> Response:
    return await _answer(lambda: ask(api, msgspec.convert(dict(request.query_params), params, strict=False)))


async def _export(api: Api, request: Request) -> Response:
    """All pools as a file to save."""

    def work() -> Response:
        params = msgspec.convert(dict(request.query_params), Export)
        return Response(
            api.export(params),
            media_type={"json": "application/json", "csv": "text/csv", "jsonl": "application/jsonl"}[params.format],
        )

    return await _answer(work)


async def _post(api: Api, params: type[Params], work: Callable[[Api, Any], Any], request: Request) -> Response:
    try:
        body = await _body(request, _MAX_BODY)
    except _TooLarge:
        return _error(413, "too_large", f"More than {_MAX_BODY:,} bytes were sent.")
    return await _answer(lambda: work(api, _params(body, params)))


def _params(body: bytes, params: type[Params]) -> Params:
    try:
        return msgspec.json.decode(body, type=params)
    except msgspec.DecodeError:
        if _has_half_characters(body):
            raise BadParameter(
                "A text holds half of a character, which cannot be stored. Delete it, or type it again."
            ) from None
        raise


def _has_half_characters(body: bytes) -> bool:
    """Whether JSON contains a lone surrogate, in the form in which browsers send one that somebody has pasted."""
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


async def _write(api: Api, params: type[Params], change: Callable[[Api, Any], Any], request: Request) -> Response:
    answer = await _post(api, params, change, request)
    api.live.look_now()
    return answer


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise _TooLarge
    return bytes(body)


async def _answer(work: Callable[[], Any]) -> Response:
    """Runs a blocking function in a thread, and reports errors in the one form that pages know."""
    try:
        result = await in_thread(work)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ToolError) as error:
        return _error(400, "bad_request", str(error))
    except BrokerRefused as error:
        return _error(409, error.code, str(error))
    except BrokerUnreachable as error:
        return _error(503, "unreachable", str(error))
    except OutcomeUnknown as error:
        return _error(503, "outcome_unknown", f"{error}\nLook at what is there before you make it again.")
    except AfpoolsError as error:
        return _error(500, "profile", str(error))
    return result if isinstance(result, Response) else _json(result)


def _json(value: Any, status: int = 200, background: BackgroundTask | None = None) -> Response:
    return Response(encoded(value), status, media_type="application/json", background=background)


def encoded(value: Any) -> bytes:
    """A value as JSON, whatever its texts contain: Python reads a folder name that is not UTF-8 as lone surrogates."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode()


def _error(status: int, code: str, message: str) -> Response:
    return _json({"error": {"code": code, "message": message}}, status)
