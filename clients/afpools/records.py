"""`Record`: like `typing.NamedTuple`, but classes are made ten times faster.

A plug-in is imported while an artist waits for a program to open. What plug-ins import for their first list of pools
(`job`, `pool_menu`, and `transport` with ssl) takes 28 ms of CPU, and 36 with `typing` and our classes made by it (on a
busy machine, 40 rounds in turns): it compiles each annotation, which here only people and the type checker read. For
the type checker `Record` is NamedTuple itself, and tests compare the two. No other module of this package imports
`typing` at run time either.
"""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as Record
else:

    class _RecordType(type):
        """Turns each annotated name into a property, in order; its value becomes the default."""

        def __new__(mcs, name, bases, space):
            fields = tuple(space.get("__annotations__", ()))
            space["_fields"] = fields
            space["_field_defaults"] = {field: space[field] for field in fields if field in space}
            space.update((field, property(itemgetter(number))) for number, field in enumerate(fields))
            space["__slots__"] = ()
            return super().__new__(mcs, name, bases, space)

    class Record(tuple, metaclass=_RecordType):
        """Base of an immutable class whose annotations are its fields."""

        def __new__(cls, *values, **named):
            fields = cls._fields
            if named or len(values) != len(fields):
                given = {**cls._field_defaults, **dict(zip(fields, values)), **named}
                twice = not named.keys().isdisjoint(fields[: len(values)])
                if twice or len(values) > len(fields) or given.keys() != set(fields):
                    raise TypeError(f"{cls.__name__} takes {', '.join(fields)}; not {values!r} and {named!r}")
                values = map(given.__getitem__, fields)
            return tuple.__new__(cls, values)

        def __repr__(self):
            return "{}({})".format(type(self).__name__, ", ".join(map("{}={!r}".format, self._fields, self)))

        def __getnewargs__(self):
            return tuple(self)

        def _asdict(self):
            """The fields by name."""
            return dict(zip(self._fields, self))

        def _replace(self, **named):
            """A copy with other values in these fields."""
            return type(self)(**{**self._asdict(), **named})


__all__ = ["Record"]
