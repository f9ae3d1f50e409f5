"""Which sources decide a job's pool, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.clients.test_job import REGEX, Broker, Job

from afpools import AfpoolsError, NoProfile, PoolNotApplied, ProfileError, find_profile
from afpools.choice import WITHOUT, Standing, decide, standing
from afpools.job import apply_on_send, apply_pool, settle
from afpools.profile import studio_default


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AFPOOLS_POOL", "AFPOOLS_PROFILE", "CGRU_LOCATION", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def never() -> Standing:
    raise AssertionError("it was asked what holds otherwise")


@pytest.mark.parametrize(
    ("said", "variable", "default", "pool"),
    [
        ("fx", "gpu", "render", "fx"),
        ("", "gpu", "render", "gpu"),
        ("", "", "render", "render"),
        ("", "", "", ""),
        (WITHOUT, "gpu", "render", ""),
        ("", WITHOUT, "render", ""),
        ("fx", WITHOUT, "render", "fx"),
        ("", "  ", "render", "render"),
    ],
)
def test_the_first_source_that_names_a_pool_decides(
    monkeypatch: pytest.MonkeyPatch, said: str, variable: str, default: str, pool: str
) -> None:
    monkeypatch.setenv("AFPOOLS_POOL", variable)
    assert decide(said, lambda: Standing(default)) == pool


def test_nothing_is_read_if_a_pool_is_named() -> None:
    assert decide("fx", never) == "fx"


@pytest.mark.parametrize(("said", "default"), [("", ""), (WITHOUT, ""), (WITHOUT, "fx"), ("", WITHOUT)])
def test_if_a_pool_is_required_a_job_without_one_is_refused(said: str, default: str) -> None:
    with pytest.raises(AfpoolsError, match="requires a pool for every job"):
        decide(said, lambda: Standing(default, True))


def profile(folder: Path, **said: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profile.json").write_text(json.dumps(said))
    return folder


def test_the_default_is_read_without_credentials(tmp_path: Path) -> None:
    profile(tmp_path / ".config/afpools", pool="render", required=True)
    assert studio_default() == ("render", True)
    assert standing() == Standing("render", True)
    assert studio_default(str(profile(tmp_path / "other", pool="fx"))) == ("fx", False)


def test_a_missing_profile_names_no_pool_and_a_broken_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert standing() == Standing()
    with pytest.raises(NoProfile):
        find_profile()
    monkeypatch.setenv("AFPOOLS_PROFILE", str(tmp_path / "gone"))
    with pytest.raises(ProfileError, match=r"\$AFPOOLS_PROFILE names this profile"):
        standing()


@pytest.mark.parametrize("said", [{"pool": 7}, {"required": "yes"}, {"required": 1}])
def test_an_ambiguous_default_is_an_error(tmp_path: Path, said: dict[str, object]) -> None:
    with pytest.raises(ProfileError, match=next(iter(said))):
        studio_default(str(profile(tmp_path / "p", **said)))


def asks(broker: Broker) -> Callable[[], Broker]:
    return lambda: broker


def test_a_job_settled_by_a_chooser_is_fenced_again_only_when_it_is_sent_again() -> None:
    class Af:
        class Job(Job):
            pass

    broker = Broker(REGEX)
    apply_on_send(Af, lambda: "", asks(broker), otherwise=lambda: Standing("gpu"))  # type: ignore[arg-type]
    apply_on_send(Af, lambda: "fx", asks(broker), otherwise=never)  # type: ignore[arg-type]
    job = Af.Job()
    job.send()
    assert [asked["pool"] for asked in broker.asked] == ["fx"]
    job.send()
    assert [(asked["pool"], asked["exclude"]) for asked in broker.asked] == [("fx", ""), ("fx", "")]


def test_a_chooser_without_a_pool_overrides_the_studios_default() -> None:
    class Af:
        class Job(Job):
            pass

    broker = Broker(REGEX)
    apply_on_send(Af, lambda: "", asks(broker), otherwise=lambda: Standing("gpu"))  # type: ignore[arg-type]
    apply_on_send(Af, lambda: WITHOUT, asks(broker), otherwise=Standing)  # type: ignore[arg-type]
    job = Af.Job()
    job.send()
    assert (broker.asked, "custom_data" in job.data) == ([], False)


def test_a_pool_applied_by_a_script_stays_the_jobs_own() -> None:
    class Af:
        class Job(Job):
            pass

    broker = Broker(REGEX)
    apply_on_send(Af, lambda: "gpu", asks(broker), otherwise=never)  # type: ignore[arg-type]
    job = Af.Job()
    apply_pool(job, "fx", broker)  # type: ignore[arg-type]
    job.send()
    job.send()
    assert [asked["pool"] for asked in broker.asked] == ["fx", "fx"]


def test_a_mask_set_after_a_pool_was_applied_is_joined_with_it() -> None:
    class Af:
        class Job(Job):
            pass

    broker = Broker(REGEX)
    apply_on_send(Af, lambda: "", asks(broker), otherwise=never)  # type: ignore[arg-type]
    job = Af.Job()
    settle(job, "fx", asks(broker))  # type: ignore[arg-type]
    job.data["hosts_mask_exclude"] = "pc-05"
    job.send()
    assert [(asked["pool"], asked["exclude"]) for asked in broker.asked] == [("fx", ""), ("fx", "pc-05")]


def test_a_job_that_may_not_be_sent_is_unchanged() -> None:
    job = Job({"hosts_mask_exclude": "pc-1"})
    before = dict(job.data)
    with pytest.raises(PoolNotApplied, match=r"^The job was not sent\. This studio requires"):
        settle(job, "", asks(Broker(REGEX)), lambda: Standing("", True))  # type: ignore[arg-type]
    assert (job.data, job.sent) == (before, [])
