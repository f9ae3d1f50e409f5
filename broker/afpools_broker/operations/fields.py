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
        name: on the wire.
        type: with its annotations.
        title: what people call a parameter that they type; empty for one that only programs set.
        description: what a parameter must be, what a result's field says.
        means: what a parameter is for, if its name does not say it.
        default: as JSON; empty for a parameter that must be given.
        of: what is in a list that is JSON already.
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
    """The fields of a struct, in their order."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return tuple(_field(field, hints[field.name]) for field in msgspec.structs.fields(struct))


def _field(field: msgspec.structs.FieldInfo, hint: Any) -> Field:
    title = description = means = ""
    of = None
    # The outermost comes last, and says it best.
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
    """What is said of a type; of a list, not what is said of what is in it."""
    if typing.get_origin(hint) is not list:
        for inner in typing.get_args(hint)[: 1 if hasattr(hint, "__metadata__") else None]:
            yield from _metas(inner)
    yield from (meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta))
