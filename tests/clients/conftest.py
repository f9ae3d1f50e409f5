"""Fixtures of the client library's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.clients.scripted_broker import Script, ScriptedBroker, Studio, say_hello

StartBroker = Callable[..., ScriptedBroker]


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "own")


@pytest.fixture
def start(studio: Studio) -> Iterator[StartBroker]:
    """Starts brokers that are stopped after the test."""
    with ExitStack() as stack:

        def start_one(script: Script = say_hello, **options: Any) -> ScriptedBroker:
            return stack.enter_context(ScriptedBroker(studio, script, **options))

        yield start_one
