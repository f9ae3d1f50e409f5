"""The operations about the system job, as a manager and a reader use them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.desk import READER, Desk

from afpools_broker.protocol import Code


def test_without_afserver_there_is_nothing_to_fence(make: Callable[..., Desk]) -> None:
    desk = make(by_hand=True)
    for op, params in (("farm.system_pool", {}), ("farm.set_system_pool", {"pool": "post"})):
        error = desk.ask(op, **params)["error"]
        assert (error["code"], "no afserver" in error["message"]) == (Code.FARM_UNAVAILABLE, True)


@pytest.mark.parametrize("pool", [7, " post", "x" * 65])
def test_an_invalid_name_cannot_be_the_system_pool(desk: Desk, pool: object) -> None:
    assert desk.code("farm.set_system_pool", pool=pool) == Code.BAD_REQUEST


def test_only_managers_choose_where_post_commands_run(desk: Desk) -> None:
    answer = desk.ask("farm.set_system_pool", READER, pool="post")
    assert answer["error"]["code"] == Code.FORBIDDEN
