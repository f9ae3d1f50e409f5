"""Ranges are expanded as ClusterShell does, and names are spelled as the farm does."""

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.config import Names
from afpools_broker.pools import hosts
from afpools_broker.pools.hosts import MAX_HOSTS_PER_CHANGE, Spelling, expand
from afpools_broker.pools.pool import as_afrender_would, has_domain
from afpools_broker.protocol import Code, RequestRefused


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["pc-01"], ("pc-01",)),
        (["pc-[01-03]"], ("pc-01", "pc-02", "pc-03")),
        (["gpu-[1-3,12]"], ("gpu-1", "gpu-2", "gpu-3", "gpu-12")),
        (["pc-[9-11]"], ("pc-9", "pc-10", "pc-11")),
        (["r[1-2]n[1-2]"], ("r1n1", "r1n2", "r2n1", "r2n2")),
        (["pc-[1-2].studio.lan"], ("pc-1.studio.lan", "pc-2.studio.lan")),
        (["pc-2", "pc-[1-3]", "pc-2"], ("pc-2", "pc-1", "pc-3")),
        (["pc-[1-9/4]"], ("pc-1", "pc-5", "pc-9")),
        (["1[9-10]"], ("19", "110")),
        (["pc2[1-2]x[08-10]9"], ("pc21x089", "pc21x099", "pc21x109", "pc22x089", "pc22x099", "pc22x109")),
        (["a" * 253], ("a" * 253,)),
        (["!&^@%"], ("!&^@%",)),
        ([], ()),
    ],
)
def test_names_and_ranges_are_expanded(patterns: list[str], names: tuple[str, ...]) -> None:
    assert expand(patterns) == names


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        " ",
        "pc 01",
        "pc-01,pc-02",
        "pc 0[1-2]",
        "a,pc-[1-2]",
        "pc-[1-2],a",
        "a![1-2]",
        "a&b[1-2]",
        "a^[1-2]",
        "@a[1-2]",
        "pc-[1-2]x!",
        "a" * 254,
        "pc-[",
        "pc-[]",
        "pc-[3-1]",
        "pc-[a-b]",
        "a\x00b",
        "a\x00[1-2]",
        "pc-[1-2][3-4]",
        "pc-[1-2,]",
        "pc-[2-3,36-40-44]",
        "pc-[5-1-200000]",
        "pc-[1-010]",
        "pc-*",
        "pc-0?",
        "pc-*[1-2]",
        "2[-100000]",
        "pc-[-5]",
        "pc-[1--3]",
        "pc-[1-3/0]",
        "pc-[1/2]",
        "pc-[01-1]",
        f"{'a' * 253}[1-2]",
        f"pc-[{'9' * 5000}]",
        f"{'9' * 5000}[1-2]",
    ],
)
def test_a_pattern_that_is_neither_is_refused_with_its_value(pattern: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        expand([pattern])
    assert refused.value.code == Code.BAD_REQUEST
    assert repr(pattern)[:200] in refused.value.message
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize(
    "pattern",
    [
        "pc-[1-99999999999]",
        "r[1-1000]n[1-1000]",
        "p[1-999][1-999][1-999][1-999]",
        "x[1-99999999]y[3-1]",
        "x[1-99999999]y[3-1,2-1]",
    ],
)
def test_a_range_of_millions_is_refused_before_it_is_made(pattern: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        expand([pattern])
    assert refused.value.code == Code.TOO_LARGE


@pytest.mark.parametrize(
    ("patterns", "count"),
    [
        (["pc-[1-10]"], 10),
        (["pc-[0-10]"], 11),
        (["pc-[1-9,20]"], 10),
        (["pc-[1-9,20-21]"], 11),
        (["r[1-2]n[1-5]"], 10),
        (["r[1-2]n[1-5,7]"], 12),
        (["pc-[1-5]", "pc-[6-10]"], 10),
        (["a", "pc-[1-5]", "pc-[6-10]"], 11),
        (["pc-[1-100/10]"], 10),
        (["pc-[1-101/10]"], 11),
        (["1[9-10]"], 2),
    ],
)
def test_hosts_are_counted_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch, patterns: list[str], count: int
) -> None:
    monkeypatch.setattr(hosts, "MAX_HOSTS_PER_CHANGE", 10)
    if count <= 10:
        assert len(expand(patterns)) <= count
        return
    with pytest.raises(RequestRefused) as refused:
        expand(patterns)
    assert refused.value.code == Code.TOO_LARGE


@pytest.mark.parametrize("pattern", ["9[9-1000000]", "pc-[1-900/0]", "pc-[7-3]"])
def test_no_range_evades_the_limit(pattern: str) -> None:
    with pytest.raises(RequestRefused):
        expand([pattern])


def test_a_pattern_points_to_the_option_that_takes_it() -> None:
    with pytest.raises(RequestRefused, match=r"--match 'gpu-\*'"):
        expand(["gpu-*"])


def test_a_name_that_was_once_allowed_can_be_taken_out() -> None:
    assert expand(["gpu-*"], leaving=True) == ("gpu-*",)


_NUMBER = st.integers(0, 120).map(str) | st.integers(0, 99).map("{:02}".format)
_PART = st.builds("{}-{}".format, _NUMBER, _NUMBER) | _NUMBER | st.builds("{}-{}/3".format, _NUMBER, _NUMBER)


@given(st.lists(_PART, min_size=1, max_size=4), st.lists(_PART, min_size=1, max_size=2))
def test_a_range_without_adjacent_digits_means_what_clustershell_says(first: list[str], second: list[str]) -> None:
    pattern = f"r[{','.join(first)}]n[{','.join(second)}]x"
    try:
        theirs = set(NodeSet(pattern, resolver=RESOLVER_NOGROUP))
    except NodeSetException:
        with pytest.raises(RequestRefused):
            expand([pattern])
    else:
        assert set(expand([pattern])) == theirs


def test_many_ranges_together_are_limited_too() -> None:
    with pytest.raises(RequestRefused):
        expand([f"pc{n}-[1-{MAX_HOSTS_PER_CHANGE // 2}]" for n in range(3)])


def test_a_render_with_an_odd_name_can_be_put_into_a_pool() -> None:
    assert expand(["pc [1]"], known=frozenset({"pc [1]"})) == ("pc [1]",)


@pytest.mark.parametrize(
    ("entered", "spelled"),
    [
        ("lt-pc-01", "lt-pc-01"),
        ("LT-PC-01", "lt-pc-01"),
        ("LT-PC-01.studio.lan", "lt-pc-01"),
        ("mixedcase", "MixedCase"),
        ("New-Host.studio.lan", "new-host"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2", "10.1.2"),
        ("FE80::1", "fe80::1"),
        ("::ffff:10.1.2.3", "::ffff:10.1.2.3"),
    ],
)
def test_a_name_is_spelled_as_the_farm_does(entered: str, spelled: str) -> None:
    assert Spelling(["lt-pc-01", "MixedCase", "10.0.0.9"]).of(entered) == spelled


@pytest.mark.parametrize(
    "farm", [["ws", "ws.one"], ["fqdn.studio.lan"], ["ws", "node.1"], ["10.0.0.1", "fe80::1", "10.2"], []]
)
def test_no_name_is_cut_unless_the_farms_own_names_show_that_they_are(farm: list[str]) -> None:
    assert Spelling(farm).of("WS.two") == "ws.two"
    assert Spelling(farm, names="cut").of("WS.two") == "ws"
    assert [Spelling(farm).of(name.upper()) for name in farm] == farm


def test_names_are_never_cut_if_the_studio_says_so() -> None:
    assert Spelling(["ws", "pc-01"], names="whole").of("WS.two") == "ws.two"


@pytest.mark.parametrize("names", ["auto", "cut"])
def test_names_that_would_become_one_are_not_cut(names: Names) -> None:
    entered = ["ws.one", "WS.two", "pc-01.lan", "PC-01.lan.", "pc-01", "new.a", "new.b"]
    spelling = Spelling(["ws", "pc-01"], entered, names)
    assert list(map(spelling.of, entered)) == ["ws.one", "ws.two", "pc-01", "pc-01", "pc-01", "new.a", "new.b"]


@pytest.mark.parametrize("address", ["10.1.2.3", "10.1.2.3.", "fe80::1", "::ffff:1.2.3.4", "10.1.2"])
def test_an_address_is_not_a_name_with_a_domain(address: str) -> None:
    assert not has_domain(address)
    assert as_afrender_would(address) == address


@pytest.mark.parametrize("farm", [["PC-01", "pc-01"], ["PC-01", "pC-01"], ["PC-01", "pC-01", "pc-01"]])
def test_renders_that_differ_only_in_case_are_never_guessed(farm: list[str]) -> None:
    spelling = Spelling(farm)
    assert [spelling.of(name) for name in farm] == farm
    assert spelling.of("Pc-01") == "Pc-01"
    assert spelling.of("Pc-01.studio.lan") == "Pc-01.studio.lan"
