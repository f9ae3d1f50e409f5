"""Documents of MongoDB, as pure functions."""

from __future__ import annotations

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from tests.fuzz.targets.documents import _ENTRY as ENTRY

from afpools_broker.pools.pool import Pool
from afpools_broker.store.mongo import documents


@pytest.mark.parametrize("name", [["pc-01"], {"a": 1}, None, 7])
def test_what_is_not_a_host_s_name_stays_when_hosts_join_and_leave_together(name: object) -> None:
    odd = {"hostname": name}
    document = RawBSONDocument(bson.encode({"name": "fx", "clients": [{"hostname": "pc-01"}, odd]}))
    update = documents.update(document, Pool("fx", ("pc-01",)), Pool("fx", ("pc-02",)), ENTRY)
    kept = bson.decode(bson.encode(update["$set"]))["clients"]
    assert kept[0] == odd
    assert [client["hostname"] for client in kept[1:]] == ["pc-02"]
