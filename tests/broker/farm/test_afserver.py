"""One request to afserver: its frame is Afanasy's, and what is wrong is said."""

import socket

import pytest
from tests.afserver import framed
from tests.broker.farm.test_farm import GET

from afpools_broker.farm.afserver import FarmError, ask


def test_an_unreachable_server_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with pytest.raises(FarmError, match=f"127.0.0.1:{address[1]} cannot be reached"):
        ask(address, GET, timeout=1)


def test_the_frame_is_the_recorded_one() -> None:
    assert framed(b'{"a":1}') == b'AFANASY 7 JSON{"a":1}'
