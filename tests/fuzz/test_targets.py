"""Every reader of foreign data gets hundreds of invalid inputs, and every input that was once a finding."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.target import bounded
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.wire import REQUESTS

from afpools_broker.operations import OPERATIONS

FINDINGS = Path(__file__).with_name("findings")


@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_refused_and_nothing_else_happens(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    if name == "std-regex" and shutil.which("g++") is None and os.environ.get("CI") != "true":
        pytest.skip("There is no g++ to compile tests/oracle/oracle.cpp with.")
    with target.open(tmp_path) as opened:
        check = bounded(opened)
        for seed in target.seeds():
            check(seed)

        # The same inputs each time: so a failure comes from a change in the code. `make fuzz` looks for new ones.
        @settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.randoms(use_true_random=False))
        def try_one(random: Random) -> None:
            check(target.draw(random))

        try_one()


@pytest.mark.parametrize("file", sorted(FINDINGS.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}")
def test_earlier_findings_stay_fixed(file: Path, tmp_path: Path) -> None:
    with TARGETS[file.parent.name].open(tmp_path) as check:
        bounded(check)(file.read_bytes())


def test_every_operation_is_tried_with_all_its_parameters() -> None:
    assert REQUESTS.keys() == OPERATIONS.keys()
    for name, params in REQUESTS.items():
        # One is tried with a revision, which all writes share; with any but the right one they do nothing.
        assert set(OPERATIONS[name].__struct_fields__) - {"if_revision"} <= params.keys()
