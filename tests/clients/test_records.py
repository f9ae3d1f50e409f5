"""Record beside typing.NamedTuple, which it stands in for: the same classes made from both, with the same calls."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools.records import Record


class Pair:
    """The two of them, which have the same name so that their output can be compared."""

    class Ours(Record):
        name: str
        hosts: tuple[str, ...] = ()
        age: float = 0.0

        @property
        def loud(self) -> str:
            return self.name.upper()

    class Theirs(NamedTuple):
        name: str
        hosts: tuple[str, ...] = ()
        age: float = 0.0

        @property
        def loud(self) -> str:
            return self.name.upper()


CLASSES: tuple[Any, Any] = (Pair.Ours, Pair.Theirs)


def outcome(work: Callable[[Any], Any], cls: Any) -> Any:
    """The outcome, in a form that can be compared between the two."""
    try:
        value = work(cls)
    except (TypeError, AttributeError, ValueError) as error:
        # A field that does not exist is a ValueError in _replace of one, and a TypeError in that of the other.
        return "refused", isinstance(error, AttributeError)
    return type(value) is cls, repr(value).replace(cls.__name__, "It")


@given(
    values=st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=5),
    named=st.dictionaries(st.sampled_from(["name", "hosts", "age", "colour"]), st.integers(), max_size=4),
)
def test_it_takes_the_same_arguments(values: list[Any], named: dict[str, Any]) -> None:
    ours, theirs = (outcome(lambda cls: cls(*values, **named), cls) for cls in CLASSES)
    assert ours == theirs


@given(
    values=st.lists(st.text(max_size=3), min_size=1, max_size=3),
    changed=st.dictionaries(st.sampled_from(["name", "hosts", "age", "colour"]), st.integers(), max_size=3),
)
def test_it_behaves_the_same(values: list[Any], changed: dict[str, Any]) -> None:
    def write(cls: Any) -> None:
        cls(*values).name = "x"

    asked: list[Callable[[Any], Any]] = [
        lambda cls: cls(*values)._replace(**changed),
        lambda cls: cls(*values)._asdict(),
        lambda cls: cls._fields,
        lambda cls: cls._field_defaults,
        lambda cls: (cls(*values).name, cls(*values).hosts, cls(*values).age, cls(*values).loud),
        lambda cls: cls(*values) == cls(*values),
        lambda cls: cls(*values) == (*values, (), 0.0)[:3],
        lambda cls: hash(cls(*values)) == hash(tuple(cls(*values))),
        lambda cls: [*cls(*values)],
        lambda cls: copy.deepcopy(cls(*values)),
        lambda cls: pickle.loads(pickle.dumps(cls(*values))),
        lambda cls: cls(*values).__dict__,
        write,
    ]
    for work in asked:
        ours, theirs = (outcome(work, cls) for cls in CLASSES)
        assert ours == theirs


def test_a_refusal_names_the_fields_and_what_was_given() -> None:
    with pytest.raises(TypeError, match=r"Ours takes name, hosts, age; not \(\) and \{'colour': 1\}"):
        Pair.Ours(colour=1)  # type: ignore[call-arg]
