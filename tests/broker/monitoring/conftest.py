"""A broker with metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.broker.monitoring.scraping import ON
from tests.studio import Studio, studio


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Studio]:
    with studio(tmp_path, metrics=ON) as made:
        yield made
