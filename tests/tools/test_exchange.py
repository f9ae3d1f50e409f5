"""Pools in files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools import Client, Pool, PoolList, UnknownOp
from afpools_tools.exchange import ExchangeError, as_csv, as_documents, as_json, preview, read_pools, steps

FX = Pool("fx", ("pc-01", "pc-02"), "", "Simulation, effects", "#3f7ae0")
EMPTY = Pool("empty", (), "", "", "")

names = st.from_regex(r"[A-Za-zäß0-9 ,;\"'=+@_./-]{0,20}[A-Za-z]", fullmatch=True).filter(
    lambda name: name == name.strip()
)
hosts = st.lists(st.from_regex(r"[a-z][a-z0-9._-]{0,12}", fullmatch=True), unique=True, max_size=6).map(tuple)
texts = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=40)
pools = st.lists(
    st.builds(Pool, names, hosts, st.just(""), texts, st.sampled_from(["", "#3f7ae0"]), st.just(0.0)),
    unique_by=lambda pool: pool.name,
    max_size=6,
)


@given(pools)
def test_json_is_read_back_as_written(written: list[Pool]) -> None:
    assert read_pools(as_json(written), "pools.json") == written


@given(pools)
def test_csv_is_read_back_as_written(written: list[Pool]) -> None:
    assert read_pools(as_csv(written), "pools.csv") == written


@given(pools.filter(bool))
def test_mongodb_documents_are_read_back_as_written(written: list[Pool]) -> None:
    assert read_pools(as_documents(written), "pools.jsonl") == written


def test_documents_are_those_of_the_earlier_pool_server() -> None:
    assert [json.loads(line) for line in as_documents([Pool("fx", ("pc-01",), "", "", "#3f7ae0")]).splitlines()] == [
        {
            "name": "fx",
            "clients": [{"hostname": "pc-01", "engine": "", "ip": "", "port": ""}],
            "colour": "#3f7ae0",
        }
    ]


def test_no_cell_is_a_formula_to_a_spreadsheet() -> None:
    written = [Pool("=HYPERLINK(0)", ("@host",), "", "+1 more", ""), Pool("'=x", (), "", "-", "")]
    cells = {cell for line in as_csv(written).splitlines() for cell in line.split(",")}
    assert not {cell for cell in cells if cell[:1] in set("=+-@")}
    assert read_pools(as_csv(written), "pools.csv") == written


def test_a_render_of_any_name_comes_back() -> None:
    name = "<img src=x onerror=alert(1)>"
    written = [Pool("fx", (name, "pc-01"), "", "", "")]
    for text in (as_json(written), as_csv(written)):
        assert read_pools(text, "file", frozenset({name})) == written


def test_empty_cells_at_a_row_s_end_are_nothing() -> None:
    assert read_pools("pool,host\nfx,pc-01,,\nempty\n", "pools.csv") == [Pool("fx", ("pc-01",), "", "", ""), EMPTY]


def test_a_spreadsheet_s_csv_is_read() -> None:
    text = "\ufeffPool;Host;Colour\r\nfx;pc-[01-02];#3f7ae0\r\nfx;gpu-1;\r\n;;\r\nempty;;\r\n"
    assert read_pools(text, "pools.csv") == [Pool("fx", ("pc-01", "pc-02", "gpu-1"), "", "", "#3f7ae0"), EMPTY]


def test_the_earlier_server_s_documents_are_read() -> None:
    documents = [
        {"_id": {"$oid": "5f"}, "name": "fx", "clients": [{"hostname": "pc-01", "engine": "", "ip": "", "port": ""}]},
        {"_id": {"$oid": "60"}, "name": "empty", "clients": []},
    ]
    wanted = [Pool("fx", ("pc-01",), "", "", ""), EMPTY]
    assert read_pools("\n".join(map(json.dumps, documents)), "pools.json") == wanted
    assert read_pools(json.dumps(documents), "pools.json") == wanted
    assert read_pools(json.dumps(documents[0]), "pools.json") == wanted[:1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("hello", "neither JSON nor CSV"),
        ("pool,host,price\nfx,pc-01,3", "neither JSON nor CSV"),
        ('pool,host\nfx,"pc-01', "is not CSV"),
        ("pool,host\nfx,pc-01\n,pc-02", "line 3: the pool has no name"),
        ("pool,host,colour\nfx,pc-01,red", "line 2: 'red' is not a colour"),
        ("pool,host\nfx,pc-01\n\nfx,pc-[1-", "line 4: 'pc-[1-' is neither"),
        ("pool,host\n" + "x" * 65, "line 2: 'xxx"),
        ("pool,host,description\nfx,," + "x" * 1001, "line 2: a description of 1,001 characters"),
        ('pool,host,description\nfx,a,"one\ntwo"\nfx,x y,', "line 4: 'x y' is neither"),
        ("pool,host\nfx,pc-01,pc-02", "line 2: 3 cells under 2 columns, 'pc-02' is one too many"),
        ("pool,host,description\nfx,pc-01,\nfx,pc-02,fire, water", "line 3: 4 cells under 3 columns, ' water'"),
        ("pool,host,host\nfx,pc-01,pc-02", "line 1: a column is there twice"),
        (
            "pool,host,description\nfx,pc-01,Fire\nfx,pc-02,\nfx,pc-03,Water",
            "line 4: the pool 'fx' has the description 'Water' here, and 'Fire' in line 2",
        ),
        (
            "pool,host,colour\nfx,pc-01,#112233\nnight,,\nfx,,#445566",
            "line 4: the pool 'fx' has the colour '#445566' here, and '#112233' in line 2",
        ),
        ('{"pools": [{"name": "' + "x" * 65 + '"}]}', "cannot be a pool's name"),
        ("[]", "no list of pools"),
        ('{"pools": [1]}', "pool number 1 has no name"),
        ('{"name": "fx", "clients": [{"host": "pc-01"}]}', "must have a list of names"),
        ('{"name": "fx", "clients": []}\n{"name": "fx", "clients": []}', "is there twice"),
        ("[" * 100_000, "is not JSON"),
        ('{"pools": [{"name": "fx\\ud800"}]}', "'fx\\ud800' holds '\\ud800', which is half of a character"),
        ('{"pools": [{"name": "fx", "hosts": ["pc-01", "\\udc00"]}]}', "the pool 'fx': '\\udc00' holds"),
        ('{"pools": [{"name": "fx", "description": "\\ud83d"}]}', "the pool 'fx': '\\ud83d' holds"),
        ('{"pools": [{"name": "fx", "colour": "\\ud83d"}]}', "is not a colour"),
        ('{"pools": [{"name": "fx", "\\ud83d": ""}]}', "which no pool has"),
        ('[{"name": "\\ud800", "clients": []}]', "half of a character"),
        ('[{"name": "fx", "clients": [{"hostname": "\\ud800"}]}]', "half of a character"),
        ("pool,host\nfx,\ud800", "line 2: '\\ud800' holds"),
        ("pool,host,description\nfx,,\ud800", "line 2: '\\ud800' holds"),
    ],
)
def test_a_file_that_is_something_else_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ExchangeError) as refused:
        read_pools(text, "file.txt")
    assert str(refused.value).startswith("file.txt")
    assert said in str(refused.value)


def test_whole_characters_of_two_halves_are_read() -> None:
    (pool,) = read_pools('{"pools": [{"name": "\\ud83d\\udd25"}]}', "file.txt")
    assert pool.name == "🔥"


# Fifty ranges of 100,000, as happened to a user; each is small enough for one change.
MANY = "pc-[1-100000]"
FIFTY = [f"p{number}" for number in range(50)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pool,host\n" + f"fx,{MANY}\n" * 50, f"line 3: with {MANY!r} the ranges of the pool 'fx' make"),
        (
            "pool,host\n" + "".join(f"{p},{MANY}\n" for p in FIFTY),
            f"line 7: with {MANY!r} the ranges of this file make",
        ),
        (json.dumps({"pools": [{"name": p, "hosts": [MANY]} for p in FIFTY]}), "the ranges of this file"),
        ("\n".join(json.dumps({"name": p, "clients": [{"hostname": MANY}]}) for p in FIFTY), "the ranges of this file"),
        (json.dumps({"pools": [{"name": "fx", "hosts": ["pc-[1-60000]", "gpu-[1-60000]"]}]}), "the pool 'fx'"),
    ],
    ids=["one pool", "many pools", "JSON", "documents", "several ranges"],
)
def test_ranges_are_counted_before_the_first_is_expanded(text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def expand(*_: object) -> None:
        raise AssertionError("It was expanded.")

    monkeypatch.setattr("afpools_broker.pools.hosts.expand", expand)
    with pytest.raises(ExchangeError) as refused:
        read_pools(text, "file.txt")
    assert said in str(refused.value)


def test_names_that_are_written_one_by_one_are_not_counted() -> None:
    names = [f"pc-{number}" for number in range(120_000)]
    (pool,) = read_pools(json.dumps({"pools": [{"name": "fx", "hosts": names}]}), "file.txt")
    assert len(pool.hosts) == 120_000


def test_a_broker_that_cannot_check_names_beforehand_is_reported_as_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **_options: object) -> str:
        raise UnknownOp("unknown_op", "There is no operation 'pools.check' here.")

    client = Client.__new__(Client)
    monkeypatch.setattr(Client, "list_pools", lambda self: PoolList((), "0", 0.0))
    monkeypatch.setattr(Client, "check_hosts", unknown)
    found = preview(steps(client, [Pool("fx", ("pc-01",), "")], replace=False))
    assert [step.text for step in found.steps] == ["fx: create with 1 host"]
    assert found.unchecked.startswith("The names could not be checked: this broker only checks them when")
