"""Following a job on an afserver that works, and sending one with CGRU's own afjob.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools_tools import submission
from afpools_tools.submission import Cgru, Lost, Progress, Sent, SubmissionError, follow

STOCK = os.environ.get("CGRU_LOCATION")
STAND_IN = Path(__file__).parents[1] / "clients/afstarter/cgru"


def sent(farm: WorkingAfServer, number: int) -> Sent:
    return Sent(number, farm.job(number)["serial"])


def test_a_job_is_followed_until_it_is_done() -> None:
    with working_afserver("pc-01") as farm:
        seen: list[Progress] = []
        job = sent(farm, farm.send(tasks=2))
        assert follow(job, farm.address, seen.append) == "done"
        assert seen[-1] == Progress(2, 2, "done")


def test_a_job_that_is_deleted_is_gone_and_another_one_with_its_number_is_another() -> None:
    with working_afserver() as farm:
        job = sent(farm, farm.send())
        farm.act(job.id, operation={"type": "delete"})
        assert follow(job, farm.address) == "deleted"
        assert farm.send() == job.id
        assert follow(job, farm.address) == "deleted"


ANSWERS = {
    " RDY ERR": None,
    " RUN ERR": None,
    " ERR": "errors",
    " ERR WD": "errors",
    " DON": "done",
    " DON ERR": "done",
    " OFF RDY": None,
}


@pytest.mark.parametrize(("state", "outcome"), ANSWERS.items())
def test_errors_end_a_job_only_if_nothing_else_of_it_can_run(
    monkeypatch: pytest.MonkeyPatch, state: str, outcome: str | None
) -> None:
    answers = [{"id": 7, "serial": 3, "state": state}, {"id": 7, "serial": 4, "state": " DON"}]
    bodies = iter([memoryview(json.dumps({"jobs": [answer]}).encode()) for answer in answers])
    monkeypatch.setattr(submission, "ask", lambda *_args, **_kwargs: next(bodies))
    # What comes after is another job.
    assert follow(Sent(7, 3), ("127.0.0.1", 1), wait=lambda _seconds: None) == (outcome or "deleted")


def test_an_afserver_that_stays_away_leaves_it_open_what_becomes_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "PATIENCE", 0.0)
    with working_afserver() as farm:
        job, address = sent(farm, farm.send()), farm.address
    with pytest.raises(Lost, match=rf"What becomes of job {job.id} is not known: .* may still be running"):
        follow(job, address)


def test_a_program_that_sends_nothing_is_quoted(tmp_path: Path) -> None:
    cgru = Cgru(STAND_IN, {**os.environ, "HOME": str(tmp_path)})
    with pytest.raises(SubmissionError, match="usage: afjob SCENE FIRST LAST"):
        cgru.send(["shot.nk"], "")


@pytest.mark.skipif(not STOCK, reason="CGRU_LOCATION names no CGRU")
def test_cgrus_own_program_sends_and_its_configuration_says_where(tmp_path: Path) -> None:
    (tmp_path / ".cgru").mkdir()
    with working_afserver("pc-01") as farm:
        host, port = farm.address
        variables = {"HOME": str(tmp_path), "CGRU_AF_SERVERNAME": host, "CGRU_AF_SERVERPORT": str(port)}
        cgru = Cgru(Path(STOCK or ""), {**os.environ, **variables})
        assert cgru.server() == (host, port)
        job = cgru.send([str(tmp_path / "shot.nk"), "1", "2", "-name", "shot"], "")
        assert (farm.job(job.id)["name"], farm.job(job.id)["serial"]) == ("shot", job.serial)
        with pytest.raises(SubmissionError, match="End frame should be"):
            cgru.send([str(tmp_path / "shot.nk"), "2", "1"], "")
