"""Values on a command line, read without pydantic."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afpools_tools.commands.options import ProfileOption, TimeoutOption
from afpools_tools.commands.parameters import plain


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("init", "--yes", "--tls-port", "99999"), "99999 is not a valid port (use 1 to 65535)."),
        (("up", "--curve-port", "x"), "x is not a valid port (use 0 to 65535)."),
        (("pool", "history", "-n", "0"), "0 is not a valid whole number (use 1 to 500)."),
        (("health", "--timeout", "soon"), "soon is not a"),
        (("jobs", "move", "7", "x", "--to", "fx"), "x is not a valid whole number (use 1 or more)."),
        (("certs", "profile", "bob", "--role", "admin"), "'--role': 'admin' is not one of 'reader', 'manager'."),
    ],
)
def test_an_invalid_value_is_named_with_the_valid_ones(afpools, arguments, said) -> None:
    refused = afpools(*arguments)
    # For monitoring, 2 means that no broker answers.
    assert refused.status == (3 if arguments[0] == "health" else 2)
    assert said in " ".join(refused.err.replace("│", " ").split())


class _Style(enum.Enum):
    LIST = "list"
    COMPACT = "compact"


def _every_kind(
    text: str,
    many: Annotated[list[str] | None, typer.Option("--many")] = None,
    profile: ProfileOption = None,
    file: Annotated[Path | None, typer.Option("--file", dir_okay=False)] = None,
    there: Annotated[Path | None, typer.Option("--there", exists=True, writable=True)] = None,
    timeout: TimeoutOption = 5.0,
    count: Annotated[int, typer.Option("--count", min=1, max=500)] = 20,
    style: Annotated[_Style, typer.Option("--style")] = _Style.LIST,
    yes: Annotated[bool, typer.Option("--yes")] = False,
) -> None:
    """Has an option of every kind that the commands have."""


def _parameters() -> dict[str, Any]:
    one = typer.Typer(add_completion=False)
    one.command()(_every_kind)
    command = typer.main.get_command(one)
    return {parameter.name: parameter for parameter in command.params}


def _outcome(parameter: Any, value: Any) -> tuple[type, object]:
    try:
        read = parameter.get_runtime_param().coerce(value, param=parameter, ctx=None)
    except typer.BadParameter as error:
        # For a number, the message says what it was and which values are valid.
        said = error.message.replace("Value error, ", "")
        return typer.BadParameter, None if parameter.name in ("count", "timeout") else said
    return type(read), repr(read)


_BY_TYPER, _BY_US = _parameters(), {name: plain(parameter) for name, parameter in _parameters().items()}
_WORDS = st.one_of(
    st.sampled_from(["", " ", "3", "007", "0", "600", "601", "1e1", "1_0", "+3", "3.", ".5", "2.5", "nan", "inf", "٣"]),
    st.sampled_from(["list", "LIST", "compact", "-", "/", "/etc/passwd", "/nonexistent", "a\0b", "pc-[01-40]"]),
    st.floats(0, 700).map(str),
    st.integers(-10, 700).map(str),
    st.text(max_size=5),
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(_BY_US)), st.none() | _WORDS)
@example("timeout", 5.0)
@example("count", 20)
@example("style", _Style.LIST)
def test_a_value_is_read_as_typer_reads_it(name: str, value: Any) -> None:
    if name == "many" and value is not None:
        value = (value, "more")
    if name == "yes":  # a flag's value is never a text
        value = bool(value)
    assert _outcome(_BY_US[name], value) == _outcome(_BY_TYPER[name], value)
