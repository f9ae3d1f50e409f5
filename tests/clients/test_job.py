"""A pool on an `af.Job` as it is sent."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

import afpools
from afpools import BrokerUnreachable, Mask, Pool, PoolNotApplied, UnknownPool
from afpools.cache import recent_pools
from afpools.choice import Standing
from afpools.fence_note import NO_SPILL, Note, SpillNote, fingerprint, parse_note
from afpools.job import apply_on_send, apply_pool

REGEX = Mask("fx", "r1", "(?!pc-0[13]$).*", "regex", "complement", 2, 3, 5, True, 0.0)
FIND = REGEX._replace(mask="pc-02|pc-04", mask_type="find", style="list")
ANY = FIND._replace(mask_type="any")


class Broker:
    """Stands in for a client: answers with one mask, or refuses."""

    def __init__(self, answer: Mask | Exception) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def get_pool(self, name: str) -> Pool:
        if name != "night":
            raise UnknownPool("unknown_pool", f"There is no pool {name!r}.")
        return Pool(name, (), "r7")

    def exclude_mask(self, pool: str, **params: Any) -> Mask:
        self.asked.append({"pool": pool, **params})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Job:
    """The parts of `af.Job` that we use: `data`, `blocks`, `send`."""

    def __init__(self, data: dict[str, Any] | None = None, *blocks: dict[str, Any]) -> None:
        self.data = {"name": "shot", "priority": 99, **(data or {})}
        self.blocks = [SimpleNamespace(data=block) for block in blocks]
        self.sent: list[dict[str, Any]] = []

    def send(self, verbose: bool = False) -> tuple[bool, Any]:
        self.sent.append(json.loads(json.dumps({**self.data, "blocks": [block.data for block in self.blocks]})))
        return True, {"id": 1}


def put(job: Job, answer: Mask | Exception = REGEX, pool: str = "fx", **kwargs: Any) -> Broker:
    broker = Broker(answer)
    apply_pool(job, pool, broker, **kwargs)  # type: ignore[arg-type]
    return broker


def test_mask_type_and_pool_are_set_and_nothing_else() -> None:
    job = Job()
    put(job)
    assert job.data == {
        "name": "shot",
        "priority": 99,
        "hosts_mask_exclude": "(?!pc-0[13]$).*",
        "hosts_mask_type": "regex",
        "custom_data": '{"afpools": {"pool": "fx", "revision": "r1", "exclude": "", "exclude_type": "either", '
        '"fingerprint": "c93db6a8a08b"}}',
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, None),
        ({"spill_to": ""}, NO_SPILL),
        ({"spill_to": "night"}, SpillNote("night", "r7", 1800)),
        ({"spill_to": "night", "spill_after": 60}, SpillNote("night", "r7", 60)),
    ],
)
def test_a_second_pool_is_in_the_jobs_note(wanted: dict[str, Any], said: SpillNote | None) -> None:
    job = Job()
    put(job, **wanted)
    note = parse_note(job.data["custom_data"])
    assert note is not None
    assert note.spill == said


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"spill_to": "nigth"}, "There is no pool 'nigth'."),
        ({"spill_to": "fx"}, "Its second pool is 'fx' as well. Choose another one, or none."),
        ({"spill_to": "night", "spill_after": 5}, "5 is not a valid number of seconds to wait"),
    ],
)
def test_a_job_whose_second_pool_cannot_be_noted_is_not_sent(wanted: dict[str, Any], why: str) -> None:
    job = Job()
    before = dict(job.data)
    with pytest.raises(PoolNotApplied, match=re.escape(why)):
        put(job, **wanted)
    assert job.data == before


def test_no_pool_leaves_the_job_untouched_and_asks_nobody() -> None:
    job = Job({"hosts_mask_exclude": "pc-1"})
    before = dict(job.data)
    broker = put(job, pool="")
    assert (job.data, broker.asked) == (before, [])


@pytest.mark.parametrize(("own", "given"), [(None, "find"), ("find", "find"), ("regex", "regex")])
def test_the_type_is_always_set_and_stays_the_jobs_own_if_both_read_the_mask_alike(own: str, given: str) -> None:
    job = Job({"hosts_mask_type": own} if own else None)
    put(job, ANY)
    assert job.data["hosts_mask_type"] == given


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ({}, {"exclude": "", "exclude_type": "either", "accept": ("regex", "find")}),
        ({"hosts_mask_exclude": "pc-1"}, {"exclude": "pc-1", "exclude_type": "either", "accept": ("regex", "find")}),
        ({"hosts_mask_exclude": " | "}, {"exclude": "", "exclude_type": "either", "accept": ("regex", "find")}),
        (
            {"hosts_mask_exclude": "pc-1", "hosts_mask_type": "find"},
            {"exclude": "pc-1", "exclude_type": "find", "accept": ("regex", "find")},
        ),
        (
            {"hosts_mask_exclude": "pc-[1]", "hosts_mask_type": "regex"},
            {"exclude": "pc-[1]", "exclude_type": "regex", "accept": ("regex",)},
        ),
    ],
)
def test_the_artists_own_exclude_mask_goes_to_the_broker_to_be_joined(data: Any, asked: dict[str, Any]) -> None:
    assert put(Job(data)).asked == [{"pool": "fx", "user": "", "future_hosts": "required", "max_bytes": 65536, **asked}]


def test_a_job_may_run_on_later_hosts_only_if_somebody_says_so() -> None:
    assert put(Job(), future_hosts="wanted").asked[0]["future_hosts"] == "wanted"


def test_a_mask_may_be_as_long_as_afserver_accepts_unless_somebody_sets_less() -> None:
    assert put(Job(), max_bytes=1000).asked[0]["max_bytes"] == 1000


def test_the_broker_is_told_whose_job_it_is() -> None:
    assert put(Job({"user_name": "anna"})).asked[0]["user"] == "anna"


def test_the_masks_of_a_regex_users_job_stay_as_they_are() -> None:
    for answer in (REGEX, ANY):
        job = Job(
            {"hosts_mask": "pc-0[1-5]", "user_name": "rex"}, {"hosts_mask": "pc.*"}, {"hosts_mask_exclude": "pc-1"}
        )
        put(job, answer._replace(untyped_as="regex"))
        assert (job.data["hosts_mask"], job.data["hosts_mask_type"]) == ("pc-0[1-5]", "regex")
        assert [block.data for block in job.blocks] == [{"hosts_mask": "pc.*"}, {"hosts_mask_exclude": "pc-1"}]


def test_if_the_reading_is_unknown_a_regex_is_one_and_names_are_prefixes() -> None:
    job = Job({"hosts_mask": "pc-0[1-5]"}, {"hosts_mask": "pc-0, pc-1"})
    put(job, REGEX._replace(untyped_as="either"))
    assert (job.data["hosts_mask"], job.blocks[0].data["hosts_mask"]) == ("pc-0[1-5]", "(?:pc-0|pc-1).*")


def test_if_the_reading_is_unknown_a_mask_that_both_types_read_alike_changes_no_other() -> None:
    job = Job({"hosts_mask": "pc-0[1-5]"})
    put(job, ANY._replace(untyped_as="either"))
    assert (job.data["hosts_mask_exclude"], "hosts_mask_type" in job.data) == ("pc-02|pc-04", False)


def test_a_refusal_fits_the_actual_farm() -> None:
    with pytest.raises(PoolNotApplied, match="this farm reads the masks of jobs of 'anna' as the beginnings of names"):
        put(Job({"hosts_mask": "pc-0[12]", "user_name": "anna"}), REGEX._replace(untyped_as="find"))
    with pytest.raises(PoolNotApplied, match="this broker is too old to say"):
        put(Job({"hosts_mask": "pc-0[12]"}))


@pytest.mark.parametrize("own", [{}, {"hosts_mask_type": "find"}])
def test_a_farm_without_mask_types_reads_everything_as_regex(own: dict[str, Any]) -> None:
    job = Job({"hosts_mask_exclude": "pc-[45]", "hosts_mask": "pc-0[1-5]", **own}, {"hosts_mask": "pc.*"})
    asked = put(job, accept=("regex",)).asked[0]
    assert (asked["accept"], asked["exclude_type"]) == (("regex",), "regex")
    assert (job.data["hosts_mask"], job.blocks[0].data) == ("pc-0[1-5]", {"hosts_mask": "pc.*"})


def test_custom_data_keeps_what_others_put_there() -> None:
    job = Job({"custom_data": '{"shot": [1, 2]}'})
    put(job)
    data = json.loads(job.data["custom_data"])
    assert (data["shot"], data["afpools"]["pool"]) == ([1, 2], "fx")


@pytest.mark.parametrize(
    ("own", "reading", "untyped"),
    [
        ({"hosts_mask_exclude": "pc-1"}, "either", "find"),
        ({"hosts_mask_exclude": "pc-1"}, "regex", "regex"),
        ({"hosts_mask_exclude": "pc-1"}, "either", ""),
        ({"hosts_mask_exclude": "pc-1", "hosts_mask_type": "find"}, "find", "regex"),
        ({"hosts_mask_exclude": "pc-[1]", "hosts_mask_type": "regex"}, "regex", "find"),
    ],
)
def test_the_job_records_its_own_exclude_mask_and_how_it_is_read(
    own: dict[str, str], reading: str, untyped: str
) -> None:
    job = Job(own)
    put(job, REGEX._replace(mask="(?:pc-1.*)|(?:(?!pc-0[13]$).*)", untyped_as=untyped))
    assert parse_note(job.data["custom_data"]) == Note(
        "fx", "r1", own["hosts_mask_exclude"], reading, fingerprint("(?:pc-1.*)|(?:(?!pc-0[13]$).*)", "regex")
    )


def test_a_job_whose_fence_will_not_follow_its_pool_is_sent_with_a_warning() -> None:
    mask = apply_pool(Job({"custom_data": "for anna"}), "fx", Broker(REGEX))  # type: ignore[arg-type]
    assert mask is not None
    assert "when the pool changes, this job keeps its current hosts" in mask.warning


@pytest.mark.parametrize("theirs", ["for anna", "[1]", "{", "[" * 100_000])
def test_custom_data_in_somebody_elses_format_is_left_alone(theirs: str) -> None:
    job = Job({"custom_data": theirs})
    put(job)
    assert (job.data["custom_data"], job.data["hosts_mask_type"]) == (theirs, "regex")


def test_other_masks_mean_the_same_when_the_type_becomes_regex() -> None:
    job = Job({"hosts_mask": "pc-0|node.a"}, {"hosts_mask": "pc-0, pc-1"}, {"hosts_mask_exclude": "pc-5"}, {})
    put(job)
    assert job.data["hosts_mask"] == "(?:pc-0|node[.]a).*"
    assert [block.data for block in job.blocks] == [
        {"hosts_mask": "(?:pc-0|pc-1).*"},
        {"hosts_mask_exclude": "(?:pc-5).*"},
        {},
    ]


@pytest.mark.parametrize("answer", [FIND, ANY])
def test_other_masks_stay_unchanged_when_the_type_stays_find(answer: Mask) -> None:
    job = Job({"hosts_mask": "pc-0|node.a"}, {"hosts_mask": "pc-0"})
    put(job, answer)
    assert (job.data["hosts_mask"], job.blocks[0].data) == ("pc-0|node.a", {"hosts_mask": "pc-0"})


def test_other_masks_stay_unchanged_when_the_job_was_already_regex() -> None:
    job = Job({"hosts_mask": "pc-0.*", "hosts_mask_type": "regex"}, {"hosts_mask": "pc-0[12]"})
    put(job)
    assert (job.data["hosts_mask"], job.blocks[0].data) == ("pc-0.*", {"hosts_mask": "pc-0[12]"})


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (Job({"hosts_mask": "pc-0[12]"}), "'pc-0[12]', looks like a regex"),
        (Job({"hosts_mask": "pc-.."}), "'pc-..', looks like a regex"),
        (Job({"hosts_mask": "pc-1|node."}), "'pc-1|node.', looks like a regex"),
        (Job({}, {"name": "sim", "hosts_mask": "pc.*"}), "hosts mask of the block 'sim'"),
        (Job({"hosts_mask_type": "find"}, {"name": "sim", "hosts_mask": "pc[1]"}), "cannot be kept beside a pool"),
        (Job({"hosts_mask_type": "glob"}), "hosts_mask_type is 'glob'"),
    ],
)
def test_a_mask_that_cannot_be_kept_beside_a_pool_is_refused_by_name(job: Job, words: str) -> None:
    before = json.dumps(job.data)
    with pytest.raises(PoolNotApplied, match="The job was not sent: it cannot be kept on the pool 'fx'") as caught:
        put(job)
    assert words in str(caught.value)
    assert json.dumps(job.data) == before


@pytest.mark.parametrize("error", [UnknownPool("unknown_pool", "No such pool."), BrokerUnreachable([("tls://b", "x")])])
def test_a_job_whose_mask_is_not_available_is_left_unchanged(error: Exception) -> None:
    job = Job({"hosts_mask_exclude": "pc-1"}, {"hosts_mask": "pc-0"})
    put(job)
    before = json.dumps([job.data, job.blocks[0].data])
    with pytest.raises(PoolNotApplied) as caught:
        put(job, error)
    assert json.dumps([job.data, job.blocks[0].data]) == before
    assert (caught.value.cause, str(error) in str(caught.value)) == (error, True)


def test_a_job_that_is_sent_twice_is_joined_with_its_own_mask_only() -> None:
    job = Job({"hosts_mask_exclude": "pc-5", "hosts_mask": "pc"}, {"hosts_mask": "pc-0"})
    put(job)
    again = put(job, FIND._replace(pool="gpu"), "gpu")
    assert again.asked[0]["exclude"] == "pc-5"
    assert again.asked[0]["exclude_type"] == "either"
    assert (job.data["hosts_mask"], job.data["hosts_mask_type"], job.blocks[0].data["hosts_mask"]) == (
        "pc",
        "find",
        "pc-0",
    )
    assert json.loads(job.data["custom_data"])["afpools"]["pool"] == "gpu"


def test_a_mask_changed_between_two_submissions_counts() -> None:
    job = Job({"hosts_mask_exclude": "pc-5"})
    put(job)
    job.data["hosts_mask_exclude"] = "pc-6"
    assert put(job).asked[0]["exclude"] == "pc-6"


@pytest.fixture
def af() -> Any:
    class OwnJob(Job):
        pass

    return SimpleNamespace(Job=OwnJob)


def test_every_job_gets_the_pool_chosen_when_it_is_sent(af: Any) -> None:
    chosen = ["", "fx"]
    broker = Broker(REGEX)
    apply_on_send(af, lambda: chosen.pop(0), lambda: broker)
    first, second = af.Job(), af.Job()
    assert first.send() == second.send(verbose=True) == (True, {"id": 1})
    assert "hosts_mask_type" not in first.sent[0]
    assert second.sent[0]["hosts_mask_exclude"] == "(?!pc-0[13]$).*"


def test_a_pool_that_was_chosen_and_sent_to_is_remembered_for_choosers(af: Any) -> None:
    """Not one that a job or the studio names itself, and not where nothing was sent."""
    chosen = ["gpu", "fx", "-", "", "unsent"]
    apply_on_send(af, lambda: chosen.pop(0), lambda: Broker(REGEX), otherwise=lambda: Standing("night"))
    for _ in range(4):
        af.Job().send()
    with pytest.raises(TypeError):
        af.Job().send("too", "many")
    assert recent_pools() == ["fx", "gpu"]


@pytest.mark.parametrize(
    ("renders", "online", "warns"),
    [(3, 1, False), (3, 0, True), (0, 0, True), (0, None, True), (3, None, False), (None, None, False)],
)
def test_a_job_that_will_wait_is_sent_with_a_warning(
    af: Any, capsys: pytest.CaptureFixture[str], renders: int | None, online: int | None, warns: bool
) -> None:
    mask = REGEX._replace(pool_renders=renders, pool_online=online)
    apply_on_send(af, lambda: "fx", lambda: Broker(mask))
    job = af.Job()
    job.send()
    assert len(job.sent) == 1
    said = capsys.readouterr().err
    assert ("of the pool 'fx' is" in said) is warns
    assert bool(said) is warns


def test_a_program_without_a_console_still_sends_it(af: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    apply_on_send(af, lambda: "fx", lambda: Broker(REGEX._replace(pool_renders=0)))
    assert af.Job().send() == (True, {"id": 1})


def no_client() -> Any:
    raise afpools.ProfileError("No profile was found.")


def not_chosen() -> str:
    raise RuntimeError("fx is missing")


@pytest.mark.parametrize(
    ("chosen", "client", "error"),
    [
        (lambda: "fx", no_client, PoolNotApplied),
        (lambda: "fx", lambda: Broker(UnknownPool("unknown_pool", "")), PoolNotApplied),
        (not_chosen, no_client, RuntimeError),
    ],
)
def test_a_job_that_cannot_be_kept_on_its_pool_is_not_sent(af: Any, chosen: Any, client: Any, error: Any) -> None:
    apply_on_send(af, chosen, client)
    job = af.Job()
    with pytest.raises(error):
        job.send()
    assert job.sent == []


def test_removing_the_wrapper_restores_the_original(af: Any) -> None:
    original = af.Job.send
    take_back = apply_on_send(af, lambda: "fx", no_client)
    take_back()
    assert af.Job.send is original


def test_removed_beneath_another_wrapper_it_passes_everything_through(af: Any) -> None:
    take_back = apply_on_send(af, lambda: "fx", no_client)
    ours = af.Job.send
    af.Job.send = lambda self: ours(self)
    take_back()
    assert af.Job().send() == (True, {"id": 1})
