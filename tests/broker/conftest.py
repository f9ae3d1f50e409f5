"""Fixtures of the broker's tests: the judge of masks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from tests import oracle as judges


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[judges.Oracle]:
    """A program on libstdc++ that reads masks as afserver does. Skips the test if there is no g++, but on CI."""
    compiler = shutil.which("g++")
    if compiler is None:
        why = "There is no g++ to compile tests/oracle/oracle.cpp with."
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    # The workers of pytest-xdist have a folder each, side by side in one of this session.
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with judges.Oracle(judges.build(compiler, folder)) as judge:
        yield judge
