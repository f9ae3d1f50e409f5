"""Host names as people read them: folded into ranges, and nothing lost."""

from itertools import product

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from hypothesis import example, given
from hypothesis import strategies as st

from afpools_broker.pools.folding import fold
from afpools_broker.pools.hosts import expand


def test_folding_is_what_people_read() -> None:
    assert fold(["pc-02", "pc-01", "pc-05", "gpu-9", "odd!name"]) == "gpu-9,pc-[01-02,05],odd!name"
    assert fold(["b!", "two words", "a!", "pc-01"]) == "pc-01,a!,b!,two words"
    assert fold([]) == ""


def test_ranges_of_several_numbers_are_found_whichever_differs() -> None:
    assert fold(f"r{row}n{node:02}" for row in range(8, 12) for node in range(1, 25)) == "r[8-11]n[01-24]"
    assert fold(["10.0.0.9", "10.0.0.10", "10.0.1.9", "10.0.1.10", "10.2.0.9"]) == "10.0.[0-1].[9-10],10.2.0.9"
    assert fold(["1-0", "1-1", "2-0", "3-0", "3-1", "10-0"]) == "[1,3]-[0-1],[2,10]-0"


def test_numbers_with_and_without_leading_zeros_are_kept_apart() -> None:
    names = ["pc-1", "pc-01", "pc-2", "pc-9", "pc-09", "pc-10", "pc-099", "pc-100"]
    assert fold(names) == "pc-[1-2,9,01,09-10,099-100]"
    assert fold(["pc-3", "pc-04", "pc-9", "pc-010"]) == "pc-[3,9,04,010]"


def test_a_name_may_have_more_digits_than_clustershell_reads() -> None:
    assert fold(["pc-" + "9" * 200, "pc-1" + "0" * 200]) == f"pc-[{'9' * 200}-1{'0' * 200}]"


def test_folding_names_that_share_no_range_is_not_quadratic() -> None:
    """Comparing each with every other, this took an hour."""
    names = [f"n{number * 7919 % 1_000_003:06}x{number * 104_729 % 99_991:05}" for number in range(20_000)]
    assert set(_expanded(fold(names))) == set(names)
    many_numbers = ["-".join(str(number % 7 + column) for column in range(60)) for number in range(2_000)]
    assert set(_expanded(fold(many_numbers))) == set(many_numbers)


_NAMES = st.from_regex(r"[a-z]{1,5}-?[0-9]{1,4}|(r|s)[0-3](n0?|-)[0-9]([ab][0-2]{1,2})?", fullmatch=True)


@given(st.sets(_NAMES, max_size=60))
@example({"pc-3", "pc-04"})
def test_folding_loses_nothing(names: set[str]) -> None:
    folded = fold(names)
    assert sorted(_expanded(folded)) == sorted(names)
    assert set(NodeSet(folded, resolver=RESOLVER_NOGROUP)) == names
    assert fold(sorted(names, reverse=True)) == folded


@given(st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=3))
def test_names_with_all_combinations_of_numbers_are_folded_into_one(numbers: list[set[int]]) -> None:
    names = ["x" + "-".join(map(str, chosen)) for chosen in product(*numbers)]
    folded = fold(names)
    assert sorted(_expanded(folded)) == sorted(names)
    assert folded.count("x") == 1


def _expanded(folded: str) -> tuple[str, ...]:
    parts, depth = [""], 0
    for character in folded:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return expand([part for part in parts if part])
