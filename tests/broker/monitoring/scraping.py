"""A broker with metrics, and a scrape of them."""

from __future__ import annotations

import urllib.request

from tests.studio import Studio

ON = {"enabled": True, "port": 0}


def text_of(place: Studio, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{place.broker.port('Metrics')}{path}", timeout=30) as answer:
        return answer.read().decode()
