"""Writes what docs/wire.md says about the operations, from their table: `python -m afpools_broker.operations.page
FILE`."""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..protocol import Role
from . import OPERATIONS, Operation, Write, WriteResult
from .fields import Field, fields_of

BEGIN, END = "<!-- operations: made by afpools_broker.operations.page -->", "<!-- end of operations -->"

_TYPES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dt.datetime: "date and time (RFC 3339)",
}


def operations() -> str:
    """All operations as Markdown, those for readers first, and the objects in their results."""
    parts = [BEGIN]
    for role, heading in ((Role.READER, "For every role"), (Role.MANAGER, "For managers, in addition")):
        parts.append(f"### {heading}")
        parts += [_operation(each) for each in OPERATIONS.values() if each.role is role]
    parts += ["### Writes", "All take these parameters as well:", _parameters(fields_of(Write))]
    parts += ["and are answered with", _fields(fields_of(WriteResult)), "### Objects in results"]
    for struct in _objects():
        parts += [f"{_link(struct)}: {_text(struct)}", _fields(fields_of(struct))]
    return "\n\n".join([*parts, END])


def replaced(page: str) -> str:
    """The page with its part about the operations brought up to date."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + operations() + after


def _operation(operation: type[Operation]) -> str:
    parts = [f"#### `{operation.op}`", _text(operation)]
    common = {each.name for each in fields_of(Write)} if issubclass(operation, Write) else set()
    if parameters := [each for each in fields_of(operation) if each.name not in common]:
        parts.append(_parameters(parameters))
    if issubclass(operation, Write):
        parts.append("Common parameters and result: see [writes](#writes).")
    else:
        parts.append(_fields(fields_of(operation.result)))
    return "\n\n".join(parts)


def _parameters(fields: Iterable[Field]) -> str:
    rows = [f"| `{each.name}` | {_what_it_must_be(each)} | {_default(each)} |" for each in fields]
    return "\n".join(["| parameter | what it is | default |", "| --- | --- | --- |", *rows])


def _what_it_must_be(field: Field) -> str:
    return f"{field.means}: {field.description}" if field.means else field.description


def _default(field: Field) -> str:
    return f"`{field.default}`" if field.default else "must be given"


def _fields(fields: Iterable[Field]) -> str:
    rows = [f"| `{each.name}` | {_type(each.type, each.of)} | {each.description} |" for each in fields]
    return "\n".join(["| in the result | type | what it says |", "| --- | --- | --- |", *rows])


def _type(hint: Any, of: type[Struct] | None = None) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _type(arguments[0], of)
    if origin in (typing.Union, types.UnionType):
        plain = [each for each in arguments if each not in (type(None), msgspec.UnsetType)]
        return _type(plain[0], of) + (" or null" if type(None) in arguments else "")
    if origin is typing.Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"object, name: {_type(arguments[1])}"
    if hint is msgspec.Raw:
        return f"list of {_link(of)}" if of else "object"
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return ", ".join(f"`{each}`" for each in hint)
    return _link(hint) if isinstance(hint, type) and issubclass(hint, Struct) else _TYPES[hint]


def _link(struct: type[Struct]) -> str:
    return f"*{struct.__name__}*"


def _objects() -> list[type[Struct]]:
    """The objects in results, each once, in order of first use."""
    found: dict[type[Struct], None] = {}

    def look(struct: type[Struct]) -> None:
        for field in fields_of(struct):
            for inner in _structs(field.type, field.of):
                if inner not in found:
                    found[inner] = None
                    look(inner)

    for operation in OPERATIONS.values():
        look(operation.result)
    return list(found)


def _structs(hint: Any, of: type[Struct] | None) -> Iterator[type[Struct]]:
    if of is not None:
        yield of
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    for inner in typing.get_args(hint):
        yield from _structs(inner, None)


def _text(struct: type[Struct]) -> str:
    """The docstring, one line per paragraph."""
    paragraphs = inspect.cleandoc(struct.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(replaced(file.read_text(encoding="utf-8")), encoding="utf-8")
