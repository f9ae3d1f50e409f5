"""Options and messages that several commands share."""

from __future__ import annotations

import pytest
import typer

from afpools import OutcomeUnknown
from afpools_tools.commands.options import CommandError, change, named_hosts


def test_a_change_of_unknown_outcome_says_how_to_repeat_it() -> None:
    with (
        pytest.raises(CommandError, match="again with --if-revision 3 --request-id 1f: the change is made once"),
        change("1f", besides="--if-revision 3") as name,
    ):
        raise OutcomeUnknown([("tls://broker", "it did not answer in time")], name)


def test_an_interrupted_change_says_so_too() -> None:
    with pytest.raises(CommandError, match="it is not known whether the change was made"), change(None):
        raise KeyboardInterrupt


def test_a_command_without_hosts_is_refused() -> None:
    assert named_hosts(["a,b"]) == ["a", "b"]
    with pytest.raises(typer.BadParameter, match="no host is named"):
        named_hosts([","])
