"""What the working stand-in for afserver does, compared with a real one if there is one (`AFPOOLS_AFSERVER`).

The real one needs renders pc-01 to pc-05 that are online and free, and that nobody minds being used.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.broker.store.places import wait_until
from tests.working_afserver import working_afserver

from afpools_broker.config import parse_server
from afpools_broker.farm.afserver import ask
from afpools_broker.farm.monitor import Monitor
from afpools_broker.live.jobs import read_log

Json = dict[str, Any]

REAL = os.environ.get("AFPOOLS_AFSERVER")
HOSTS = ("pc-01", "pc-02", "pc-03", "pc-04", "pc-05")


class Farm:
    """One afserver, as its clients see it; what is sent to it is deleted at the end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.sent: dict[int, int] = {}  # serials by number

    def ask(self, request: Json) -> Json:
        answer: Json = json.loads(bytes(self.raw(request)), strict=False)
        return answer

    def raw(self, request: Json) -> memoryview:
        return ask(self.address, request, timeout=20)

    def send(self, name: str = "afpools contract", *, tasks: int = 3, seconds: float = 0.1, **keys: Any) -> int:
        block = {"flags": 1, "name": "b", "service": "generic", "parser": "generic", "capacity": 1000}
        block |= {"working_directory": "/", "command": f"sleep {seconds} # @#@", **keys.pop("block", {})}
        block |= {"frame_first": 1, "frame_last": tasks, "frames_per_task": 1, "frames_inc": 1}
        about = {"name": name, "user_name": "afpools", "host_name": "here", "priority": 99, "branch": "/jobs"}
        job = {**about, "time_creation": int(time.time()), "offline": True, "blocks": [block], **keys}
        answer = self.ask({"job": job})
        self.sent[int(answer["id"])] = answer["serial"]
        return int(answer["id"])

    def act(self, *ids: int, **what: Any) -> tuple[str, str]:
        action = {"user_name": "anna", "host_name": "ws-04", "type": "jobs", "ids": list(ids), **what}
        info = self.ask({"action": action})["info"]
        return info["kind"], info["text"]

    def job(self, number: int) -> Json:
        (job,) = self.ask({"get": {"type": "jobs", "ids": [number]}})["jobs"]
        return dict(job)

    def delete(self) -> None:
        """Deletes what was sent, unless somebody else's job has the number by now."""
        found = self.ask({"get": {"type": "jobs", "ids": list(self.sent)}}).get("jobs", []) if self.sent else []
        for job in found:
            if self.sent[job["id"]] == job["serial"]:
                self.act(job["id"], operation={"type": "delete"})


@pytest.fixture(
    params=[
        "stand-in",
        pytest.param(
            "real",
            marks=[
                pytest.mark.heavy,
                pytest.mark.xdist_group("afserver"),
                pytest.mark.skipif(not REAL, reason="AFPOOLS_AFSERVER names no afserver"),
            ],
        ),
    ]
)
def farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    if request.param == "real":
        real = Farm(parse_server(REAL or ""))
        yield real
        real.delete()
        return
    with working_afserver(*HOSTS) as server:
        yield Farm(server.address)


DONE = ("log", "Action processed.")


def test_set_values_are_shown(farm: Farm) -> None:
    number = farm.send()
    params = {"hosts_mask_exclude": "(?!pc-0[12]$).*", "hosts_mask_type": "regex", "custom_data": '{"ü": "\\\\d"}'}
    assert farm.act(number, params=params) == DONE
    told = farm.job(number)
    assert {key: told[key] for key in params} == params


def test_an_unknown_type_is_processed_but_not_applied(farm: Farm) -> None:
    number = farm.send(hosts_mask_type="find")
    assert farm.act(number, params={"hosts_mask_type": "glob"}) == DONE
    assert farm.job(number)["hosts_mask_type"] == "find"


def test_an_invalid_regex_is_processed_and_shown(farm: Farm) -> None:
    number = farm.send(hosts_mask_type="regex")
    assert farm.act(number, params={"hosts_mask_exclude": "pc-(("}) == DONE
    assert farm.job(number)["hosts_mask_exclude"] == "pc-(("


def test_a_mask_of_separators_is_empty(farm: Farm) -> None:
    number = farm.send(hosts_mask_type="find", hosts_mask_exclude="pc-01")
    farm.act(number, params={"hosts_mask_exclude": "  "})
    assert "hosts_mask_exclude" not in farm.job(number)


def test_any_params_unhide_a_hidden_job_unless_they_hide_it(farm: Farm) -> None:
    number = farm.send()
    farm.act(number, params={"hidden": True})
    farm.act(number, params={"hosts_mask_exclude": "pc-01", "hidden": True})
    assert farm.job(number)["hidden"] is True
    farm.act(number, params={"hosts_mask_exclude": "pc-02"})
    assert "hidden" not in farm.job(number)


def test_with_one_id_gone_the_answer_is_an_error_and_the_others_are_changed(farm: Farm) -> None:
    number = farm.send()
    assert farm.act(number, 9999, params={"hosts_mask_exclude": "pc-05"}) == (
        "error",
        "Action node ID not found: 9999.",
    )
    assert farm.job(number)["hosts_mask_exclude"] == "pc-05"
    beyond = farm.act(99_999_999, params={"hosts_mask_exclude": "a"})
    assert beyond == ("error", "Action node ID above container capacity: 99999999 >= 1000000.")


def test_a_single_unknown_id_is_an_error_and_among_others_it_is_left_out(farm: Farm) -> None:
    number = farm.send()
    assert farm.ask({"get": {"type": "jobs", "ids": [9999]}}) == {"info": {"kind": "error", "text": "Invalid ID"}}
    assert [job["id"] for job in farm.ask({"get": {"type": "jobs", "ids": [number, 9999]}})["jobs"]] == [number]
    assert farm.ask({"get": {"type": "jobs", "ids": [9998, 9999]}}) == {"jobs": []}


def test_an_action_says_who_and_from_where(farm: Farm) -> None:
    number = farm.send()
    for key in ("user_name", "host_name"):
        action = {"user_name": "x", "host_name": "y", "type": "jobs", "ids": [number], "params": {"annotation": "a"}}
        del action[key]
        text = farm.ask({"action": action})["info"]["text"]
        assert text == f'Action should have a not empty "{key}" string.'


def test_a_number_is_used_again_at_once_and_a_serial_is_not(farm: Farm) -> None:
    first = farm.send()
    serial = farm.job(first)["serial"]
    farm.act(first, operation={"type": "delete"})
    wait_until(lambda: not farm.ask({"get": {"type": "jobs", "ids": [first, 9999]}})["jobs"])
    assert farm.send() == first
    assert farm.job(first)["serial"] > serial


def test_the_log_says_who_set_what(farm: Farm) -> None:
    number = farm.send()
    farm.act(number, params={"hosts_mask_exclude": "pc-03"})
    line = read_log(farm.raw, number)[-1]
    assert "anna@ws-04 127.0.0.1: jobs params: " in line
    assert '"hosts_mask_exclude" set to "pc-03"' in line


def test_the_log_has_values_as_they_were_given_in_afservers_order(farm: Farm) -> None:
    number = farm.send(hosts_mask_type="find")
    data = '{"ü": "a\\\\b\\"c", "n": "l1\\nl2",\n "z":1}'
    farm.act(
        number, params={"hosts_mask_type": "regex", "hosts_mask_exclude": "\\w", "hidden": True, "custom_data": data}
    )
    farm.act(number, params={"hosts_mask_type": "glob", "annotation": ""})
    farm.act(number, params={"hosts_mask_exclude": "pc-(("})
    farm.act(number, params={"hosts_mask_exclude": "pc-02"}, block_ids=[0])
    farm.act(number, operation={"type": "pause"})
    said = [line.partition("afpools contract@afpools: ")[2] for line in read_log(farm.raw, number)[1:]]
    assert said == [
        f' "custom_data" set to "{data}"\n"hidden" set to true\n"hosts_mask_exclude" set to "\\w"\n'
        '"hosts_mask_type" set to "regex"',
        ' "annotation" set to ""\n"hosts_mask_type" set to "glob"',
        ' "hosts_mask_exclude" invalid pattern "pc-(("',
        '\bBlock[\'b\']: \n"hosts_mask_exclude" set to "pc-02"',
        "",
    ]


def test_actions_that_arrive_in_one_second_are_carried_out_in_order(farm: Farm) -> None:
    number = farm.send()
    farm.act(number, params={"annotation": "the round has just been"})
    masks = [f"pc-0{n}" for n in range(1, 6)]
    with ThreadPoolExecutor(len(masks)) as threads:
        for mask in masks:
            threads.submit(farm.act, number, params={"hosts_mask_exclude": mask})
            time.sleep(0.1)  # in this order
    lines = read_log(farm.raw, number)[-5:]
    assert [line.rpartition(" set to ")[2] for line in lines] == [f'"{mask}"' for mask in masks]
    assert farm.job(number)["hosts_mask_exclude"] == "pc-05"


def test_a_monitor_gets_events_of_jobs_that_are_added_changed_and_deleted(farm: Farm) -> None:
    monitor = Monitor.register(farm.raw, "jobs")
    assert monitor is not None
    number = farm.send()
    seen: dict[str, set[int]] = {"added": set(), "changed": set(), "deleted": set()}

    def told(what: str) -> bool:
        events = monitor.fetch()
        assert events is not None
        for kind, ids in events._asdict().items():
            seen[kind].update(ids)
        return number in seen[what]

    wait_until(lambda: told("added"))
    farm.act(number, params={"hosts_mask_exclude": "pc-03"})
    wait_until(lambda: told("changed"))
    farm.act(number, operation={"type": "delete"})
    wait_until(lambda: told("deleted"))


def test_an_unknown_monitor_gets_no_events(farm: Farm) -> None:
    answer = farm.ask({"get": {"type": "monitors", "ids": [777], "mode": "events"}})
    assert answer == {"monitor": {"id": 0}}


def test_tasks_obey_the_mask_the_blocks_mask_and_a_restart_of_single_tasks(farm: Farm) -> None:
    block = {"hosts_mask_exclude": "pc-02"}
    mask = "(?!pc-0[12]$).*"
    number = farm.send(
        tasks=2, seconds=60, offline=False, hosts_mask_exclude=mask, hosts_mask_type="regex", block=block
    )

    def running() -> dict[str, list[int]]:
        renders = farm.ask({"get": {"type": "renders"}})["renders"]
        return {
            render["name"]: tasks
            for render in renders
            if (tasks := [each["task_num"] for each in render.get("tasks", ()) if each["job_id"] == number])
        }

    # On a real farm another task may have a render for some seconds: afserver's own of jobs that had custom data.
    wait_until(lambda: "pc-01" in running())
    (first,) = running().items()
    assert first[0] == "pc-01"
    farm.act(number, params={"hosts_mask_exclude": "(?!pc-0[1234]$).*"})
    wait_until(lambda: len(running()) == 2)
    second = {**running()}
    assert second.pop("pc-01") == first[1]
    assert set(second) <= {"pc-03", "pc-04"}
    farm.act(number, params={"hosts_mask_exclude": "(?!pc-04$).*"})
    farm.act(number, block_ids=[0], operation={"type": "restart", "task_ids": first[1]})
    wait_until(lambda: "pc-01" not in running())
    assert set(running()) <= {"pc-03", "pc-04"}


def test_a_wrong_request_is_an_error(farm: Farm) -> None:
    assert farm.ask({"nonsense": 1})["info"]["text"] == "Invalid action."
