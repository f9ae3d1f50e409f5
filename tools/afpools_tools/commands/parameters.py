"""Reads the values on a command line without pydantic, which would take a third of a command's time.

typer (since 0.29) converts values with pydantic, and imports it for the first option of any command, given or not: 75
of the 205 ms of CPU that `afpools pool list` took. There is almost never anything to convert.

Strategy: only an unambiguous value is read here. Everything else is left to typer, and so is every refusal except of
numbers: pydantic says "Input should be less than or equal to 65535", but not what the input was. A typer without
pydantic is left unchanged.
"""

from __future__ import annotations

import enum
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

from typer import BadParameter

_NUMBERS = {int: re.compile(r"[0-9]{1,15}"), float: re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")}


class _NotPlain(Exception):
    """typer has to look at this value."""


class _Reader:
    """Replaces the converter that typer makes for a parameter.

    Args:
        make: makes typer's own converter.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value in the form that the command expects.

        Raises:
            BadParameter: raised by typer, which then converts the value.
        """
        try:
            return _read(value, param)
        except _NotPlain:
            try:
                return self._make().coerce(value, param=param, ctx=ctx)
            except BadParameter as refused:
                kind, settings = param.type_descriptor.annotation, param.type_descriptor.parameter_info
                if get_origin(kind) is list:
                    (kind,) = get_args(kind)
                    value = next((item for item in value if not _is_number(item, kind, settings)), value)
                if kind in _NUMBERS:
                    raise BadParameter(_why_no_number(value, kind, settings), ctx=ctx, param=param) from None
                # pydantic puts this before the messages of our own types.
                refused.message = refused.message.replace("Value error, ", "")
                raise


def read_plainly(command: Any) -> None:
    """Makes a command and its subcommands read plain values without typer."""
    parameters = command.get_params
    # Include those that are not in its `params`: --help is made on request.
    command.get_params = lambda ctx: [plain(parameter) for parameter in parameters(ctx)]
    for below in getattr(command, "commands", {}).values():
        read_plainly(below)


def plain(parameter: Any) -> Any:
    """The parameter, which from now on reads plain values without typer. Calling this twice has no further effect."""
    make = getattr(parameter, "get_runtime_param", None)
    if make is not None and "get_runtime_param" not in vars(parameter):
        reader = _Reader(make)
        parameter.get_runtime_param = lambda: reader
    return parameter


def _read(value: Any, parameter: Any) -> Any:
    kind, settings = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    many = parameter.multiple or parameter.nargs == -1
    if value is None:
        return () if many else None
    if settings.parser is not None or many != (get_origin(kind) is list):
        raise _NotPlain
    if not many:
        return _read_one(value, kind, settings)
    if not isinstance(value, (list, tuple)):
        raise _NotPlain
    return [_read_one(item, get_args(kind)[0], settings) for item in value]


def _read_one(value: Any, kind: Any, settings: Any) -> Any:
    if kind is str and type(value) is str:
        return value
    if kind in _NUMBERS:
        return _read_number(value, kind, settings)
    if kind is Path and isinstance(value, (str, Path)):
        return _read_path(value, settings)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(value, kind):
        return value
    raise _NotPlain


def _read_number(value: Any, kind: Any, settings: Any) -> Any:
    if type(value) is str and _NUMBERS[kind].fullmatch(value):
        value = kind(value)
    least = float("-inf") if settings.min is None else settings.min
    most = float("inf") if settings.max is None else settings.max
    if type(value) is kind and least <= value <= most:
        return value
    raise _NotPlain


def _is_number(value: Any, kind: Any, settings: Any) -> bool:
    try:
        return kind in _NUMBERS and _read_number(value, kind, settings) is not None
    except _NotPlain:
        return False


def _why_no_number(value: Any, kind: Any, settings: Any) -> str:
    value = value or repr(value)
    what = "port" if settings.metavar == "PORT" else "whole number" if kind is int else "number"
    least, most = settings.min, settings.max
    if least is None and most is None:
        return f"{value} is not a {what}."
    use = f"{least} to {most}" if None not in (least, most) else f"{least} or more" if most is None else f"up to {most}"
    return f"{value} is not a valid {what} (use {use})."


def _read_path(value: str | Path, settings: Any) -> Path:
    if settings.path_type is not None or settings.resolve_path or settings.allow_dash:
        raise _NotPlain
    try:
        mode = Path(value).stat().st_mode
    except OSError:
        if settings.exists:
            raise _NotPlain from None
        return Path(value)
    except ValueError:
        raise _NotPlain from None
    if (
        (stat.S_ISREG(mode) and not settings.file_okay)
        or (stat.S_ISDIR(mode) and not settings.dir_okay)
        or (settings.readable and not os.access(value, os.R_OK))
        or (settings.writable and not os.access(value, os.W_OK))
    ):
        raise _NotPlain
    return Path(value)
