"""Why a CURVE handshake failed, in words for the log."""

from __future__ import annotations

import errno

import pytest

from afpools_broker.listeners.curve_failures import HANDSHAKE_FAILURES, NOT_ZEROMQ, unfinished


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EAGAIN])
def test_a_slow_handshake_is_told_from_a_peer_that_hung_up(number: int) -> None:
    assert unfinished(number, 2.5) == ("slow handshake", "it did not finish its handshake within 2.5 seconds")
    assert unfinished(errno.ECONNRESET, 2.5)[0] == "hung up"


def test_each_reason_is_of_its_own_kind_and_a_clause_for_the_end_of_a_line() -> None:
    reasons = [*HANDSHAKE_FAILURES.values(), NOT_ZEROMQ, unfinished(0, 1.0)]
    assert len({kind for kind, _ in reasons}) == len(reasons)
    assert all(clause.startswith("it") and not clause.endswith(".") for _, clause in reasons)
