"""The jobs on the farm: all of them are read, whatever some of them contain, and then those that change."""

from __future__ import annotations

import json

import pytest
from tests.broker.live.conftest import WIDER, Studio

from afpools_broker.live.jobs import parse_jobs


def test_a_block_whose_mask_breaks_afservers_json_does_not_hide_the_other_jobs(studio: Studio) -> None:
    from afpools_broker.live.jobs import parse_jobs

    body = b'{"jobs":[{"id":2,"blocks":[{"hosts_mask":"ws\\.one|a\\\\b"}]},{"id":3,"name":"a\\"b\\u00fc"}]}'
    first, second = parse_jobs(body)
    assert (first.blocks[0].hosts_mask, second.name) == ("ws\\.one|a\\b", 'a"bü')


def test_missed_events_are_made_up_for(studio: Studio) -> None:
    job = studio.send("fx", offline=True)
    studio.look()
    studio.server.forget_monitors()
    later = studio.send("fx", offline=True)
    studio.server.act(job, operation={"type": "delete"})
    studio.look()
    assert set(studio.fences.view.jobs) == {later}


def test_only_changed_jobs_are_read(studio: Studio) -> None:
    studio.send("fx", offline=True)
    studio.look()
    del studio.server.requests[:]
    studio.look()
    assert not [request for request in studio.server.requests if request.get("get", {}).get("type") == "jobs"]


@pytest.mark.parametrize(
    "odd",
    [
        b'"name":"caf\xe9"',
        b'"name":"a\nb"',
        rb'"name":"\ud800"',
        b'"hosts_mask_type":"glob"',
        b'"custom_data":{"a":1}',
        b'"custom_data":null',
        b'"pools":{"/local":1.5}',
    ],
)
def test_an_odd_job_does_not_hide_the_others(odd: bytes) -> None:
    jobs = parse_jobs(b'{"jobs":[{"id":2,%s},{"id":3,"name":"a\\"b\\u00fc"}]}' % odd)
    assert [(job.id, job.name) for job in jobs][-1] == (3, 'a"bü')


def test_deep_and_huge_custom_data_of_others_is_harmless(studio: Studio) -> None:
    for text in ("[" * 100_000, '{"a":' * 980 + "1" + "}" * 980, '{"afpools":' + "9" * 10_000 + "}", "x" * 2_000_000):
        studio.server.send("odd", custom_data=text, offline=True)
    inner = {"deep": json.loads("[" * 900 + "]" * 900), "big": "x" * 1_000_000}
    job = studio.send("fx", offline=True, custom_data=json.dumps(inner))
    studio.apply("pools.add_hosts", "fx", "pc-04")
    studio.look()
    assert studio.mask(job) == WIDER
    assert json.loads(studio.server.job(job)["custom_data"])["big"] == inner["big"]
