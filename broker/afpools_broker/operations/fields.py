"""What the parameters of an operation and the fields of a result are, for people."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Meta, Struct


class Field(NamedTuple):
    """One parameter, or one field of a result.

    Args:
        name: its name on the wire.
        type: its type, with annotations.
        title: people's name for a parameter that they type; empty for one that only programs set.
        description: what a parameter must be, or what a field of a result says.
        means: what a parameter is for, if its name does not say it.
        default: as JSON; empty for a parameter that must be given.
        of: the type of the items in a list that is already JSON.
    """

    name: str
    type: Any
    title: str
    description: str
    means: str
    default: str
    of: type[Struct] | None


@cache
def fields_of(struct: type[Struct]) -> tuple[Field, ...]:
    """The fields of a struct, in order."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return tuple(_field(field, hints[field.name]) for field in msgspec.structs.fields(struct))


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> Field:
    title = description = means = ""
    of = None
    # The outermost comes last, and is the most specific.
    for meta in _metas(hint):
        title, description = meta.title or title, meta.description or description
        means, of = (meta.extra or {}).get("means", means), (meta.extra or {}).get("of", of)
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    known = default is not msgspec.NODEFAULT and default is not msgspec.UNSET
    return Field(
        field.name, hint, title, description, means, msgspec.json.encode(default).decode() if known else "", of
    )


def _metas(hint: Any) -> Iterator[Meta]:
    """The description of a type; for a list, not that of its items."""
    if typing.get_origin(hint) is not list:
        for inner in typing.get_args(hint)[: 1 if hasattr(hint, "__metadata__") else None]:
            yield from _metas(inner)
    yield from (meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta))
