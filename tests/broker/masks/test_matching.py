"""What an expression matches, without taking forever."""

from __future__ import annotations

import tracemalloc

import pytest

from afpools_broker.masks.matching import matching


def test_an_expression_of_prefixes_is_not_tried_host_by_host(monkeypatch: pytest.MonkeyPatch) -> None:
    # A job's own `find` mask looks like this as regex: joined with a pool's mask, it is read for each job.
    monkeypatch.setattr("afpools_broker.masks.matching._Matcher._STEPS", 0)
    hosts = ["pc-01", "pc-02", "gpu-1", "ws-1", "w s"]
    assert matching(r"(?:ws|gpu\-)[a-z0-9-]*|(?!(?:pc-01|gpu-1|ws-1)$).*", hosts) == {"pc-02", "gpu-1", "ws-1", "w s"}
    assert matching(r"(?:ws|gpu\-|w)[a-z0-9-]*", hosts) == {"gpu-1", "ws-1"}


@pytest.mark.parametrize("pattern", ["[ab]" * 12 + "x" * 20_000, "([ab]?" * 12 + "(x)" * 4000 + ")" * 12])
def test_an_expression_for_many_long_names_does_not_fill_the_memory(pattern: str) -> None:
    hosts = [f"pc-{n}" for n in range(5000)]
    tracemalloc.start()
    try:
        assert matching(pattern, hosts) == set()
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
