"""Pools in files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afpools import Pool
from afpools_tools.exchange import as_csv, as_documents, as_json, read_pools
from afpools_tools.output import CommandError

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
def test_what_is_written_as_json_is_read_again(written: list[Pool]) -> None:
    assert read_pools(as_json(written), "pools.json") == written


@given(pools)
def test_what_is_written_as_csv_is_read_again(written: list[Pool]) -> None:
    assert read_pools(as_csv(written), "pools.csv") == written


@given(pools.filter(bool))
def test_what_is_written_for_mongodb_is_read_again(written: list[Pool]) -> None:
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
    ],
)
def test_a_file_that_is_something_else_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(CommandError) as refused:
        read_pools(text, "file.txt")
    assert str(refused.value).startswith("file.txt")
    assert said in str(refused.value)
