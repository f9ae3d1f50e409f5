"""The one scan that a Pool Manager runs at a time; of loopback only."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from afpools_tools.manager import scan_job
from afpools_tools.manager.scan_job import ScanJob
from afpools_tools.network.addresses import ScanError
from afpools_tools.network.scan import last_result, last_result_file

from .conftest import until


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScanJob:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return ScanJob()


def test_a_cancel_that_comes_before_the_first_connection_counts(job: ScanJob) -> None:
    job.start("127.0.0.0/20")
    job.cancel()
    until(lambda: not job.running, seconds=5)
    assert job.state(())["result"]["tried"] < 4094


def test_two_scans_at_a_time_are_refused(job: ScanJob) -> None:
    job.start("127.0.0.0/20")
    try:
        with pytest.raises(ScanError, match="already running"):
            job.start("127.0.0.0/24")
    finally:
        job.close()


def test_results_of_a_scan_are_kept_when_the_pool_manager_ends(job: ScanJob) -> None:
    job.start("127.0.0.0/20")
    until(lambda: job.state(())["progress"]["found"])
    began = time.monotonic()
    job.close()
    assert time.monotonic() - began < 2
    assert last_result().findings


def test_a_result_that_cannot_be_saved_is_still_shown(job: ScanJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_result: object) -> None:
        raise ScanError("The result was not kept.")

    monkeypatch.setattr(scan_job, "keep", refuse)
    job.start("127.0.0.1/32")
    until(lambda: not job.running)
    state = job.state(())
    assert state["result"]["network"] == "127.0.0.1/32"
    assert "could not be written" in state["warning"]


def test_an_unreadable_result_is_distinguished_from_none(job: ScanJob) -> None:
    assert job.state(())["result"] is None
    assert "result_error" not in job.state(())
    file = last_result_file()
    file.parent.mkdir(parents=True)
    file.write_text("half a resu")
    assert "is damaged" in job.state(())["result_error"]
