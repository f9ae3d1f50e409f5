"""What afserver answers, and the list of renders that a store keeps."""

from __future__ import annotations

import json
import time
import zlib
from random import Random
from typing import Any

from tests.afserver import RECORDINGS, framed
from tests.fuzz.mutations import changed_json, damaged
from tests.fuzz.target import Target, stateless

from afpools_broker.farm import afserver, farm
from afpools_broker.farm.afserver import FarmError
from afpools_broker.farm.farm import Render

_ANSWERS = tuple(
    json.dumps(json.loads(file.read_text())["answer"]).encode() for file in sorted(RECORDINGS.glob("*.json"))
)
_RENDERS = json.dumps(json.loads((RECORDINGS / "renders_get.json").read_text())["answer"]).encode()


class _Wire:
    """A socket that returns these bytes, a few at a time, and then nothing more."""

    def __init__(self, data: bytes, sizes: Random | None) -> None:
        self._data, self._sizes = memoryview(data), sizes

    def settimeout(self, _: float) -> None:
        pass

    def recv_into(self, place: memoryview) -> int:
        size = min(len(place), len(self._data), self._sizes.choice((1, 2, 7, 33, 4096)) if self._sizes else 1 << 20)
        place[:size], self._data = self._data[:size], self._data[size:]
        return size


def check_framing(data: bytes) -> None:
    """An answer is found after its header however it arrives, or is refused."""
    answers: list[bytes | None] = []
    for sizes in (None, Random(zlib.crc32(data))):
        wire: Any = _Wire(data, sizes)
        try:
            answers.append(bytes(afserver._read_answer(wire, time.monotonic() + 60, "afserver at af:51000")))
        except FarmError as error:
            assert str(error).startswith("afserver at af:51000 ")
            assert len(str(error)) < 300
            answers.append(None)
    whole, piece_by_piece = answers
    assert whole == piece_by_piece
    if whole is not None:
        head, _, rest = data.partition(b"JSON")
        assert whole == rest[: int(head.split()[1])]


def check_renders(body: bytes) -> None:
    """A list of renders is read, or refused as a whole; a second read gives the same, and takes no more memory."""
    try:
        renders = farm.parse_renders(body)
    except FarmError as error:
        assert len(str(error)) < 1000
        return
    for render in renders:
        assert render.name
        assert set(render.states) <= set(farm._STATES.values())
        render.name.encode()
    again = farm.parse_renders(memoryview(body), renders)
    assert again == renders
    if len({render.name for render in renders}) == len(renders):
        assert all(one is other for one, other in zip(renders, again, strict=True))
    assert farm.unpack(farm.pack(renders)) == (renders, None)
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        return  # control characters, as afserver writes them
    assert [render.name for render in renders] == [render["name"] for render in plain["renders"] if render["name"]]


def check_kept(data: bytes) -> None:
    """Stored data is read or refused, and never fills the memory."""
    try:
        renders, regex_users = farm.unpack(data)
    except FarmError as error:
        assert len(str(error)) < 1000
        return
    assert farm.unpack(farm.pack(renders, regex_users)) == (renders, regex_users)


def check_users(body: bytes) -> None:
    """A list of users is read, or refused as a whole."""
    try:
        users = farm.parse_regex_users(body)
    except FarmError as error:
        assert len(str(error)) < 1000
        return
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        return  # control characters, as afserver writes them
    assert users == {user["name"] for user in plain["users"] if user.get("hosts_mask_type") == "regex"}


def _changed_framing(data: bytes, random: Random) -> bytes:
    head, found, body = data.partition(b"JSON")
    if found and random.randint(0, 1):
        return damaged(head + found, random) + body
    if found and random.randint(0, 2):
        size = random.choice((0, 1, len(body) - 1, len(body) + 1, 10**6, 10**10, (256 << 20) + 1, 10**30))
        return b"AFANASY %d JSON%s" % (size, body)
    return damaged(data, random)


def _changed_kept(data: bytes, random: Random) -> bytes:
    if not random.randint(0, 5):
        return damaged(data, random)
    try:
        plain = zlib.decompress(data)
    except zlib.error:
        return damaged(data, random)
    return zlib.compress(damaged(plain, random))


TARGETS = (
    Target("afserver-framing", stateless(check_framing), lambda: tuple(map(framed, _ANSWERS)), _changed_framing),
    Target("afserver-renders", stateless(check_renders), lambda: (_RENDERS, *_ANSWERS), changed_json),
    Target("afserver-users", stateless(check_users), lambda: _ANSWERS, changed_json),
    Target(
        "kept-renders",
        stateless(check_kept),
        lambda: (
            farm.pack(farm.parse_renders(_RENDERS)),
            farm.pack((Render("pc-01", ("online", "busy"), "10.0.0.1", "3.4.1"),)),
            farm.pack((Render("pc-01"),), frozenset({"anna"})),
        ),
        _changed_kept,
    ),
)
