"""How long jobs have waited without interruption: properties over any sequence of looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from afpools_broker.live.waiting import GAP_SECONDS, Waiting

# Seconds until the next look, and the job's state then; None: it does not wait.
looks = st.lists(
    st.tuples(st.floats(0, 2 * GAP_SECONDS), st.sampled_from([None, "as before", "one task further"])), min_size=1
)


@given(looks)
def test_only_time_in_which_every_look_saw_the_job_wait_unchanged_counts(seen: list[tuple[float, str | None]]) -> None:
    waiting, now = Waiting(), 0.0
    counted, last = 0.0, None
    for passed, how in seen:
        now += passed
        waiting.count(now, {} if how is None else {7: how})
        counted = counted + passed if how is not None and how == last and passed <= GAP_SECONDS else 0.0
        last = how
        assert abs(waiting.seconds(7) - counted) < 1e-6
        assert waiting.seconds_by_serial().keys() == ({7} if how else set())


@given(looks, st.floats(0, 3 * GAP_SECONDS), st.floats(60, 3600))
def test_a_wait_is_over_only_if_the_job_was_just_seen_unchanged(
    seen: list[tuple[float, str | None]], since: float, after: float
) -> None:
    waiting, now = Waiting(), 0.0
    for passed, how in seen:
        now += passed
        waiting.count(now, {} if how is None else {7: how})
    last = seen[-1][1]
    for how in ("as before", "one task further"):
        over = waiting.is_over(7, how, after, now + since)
        assert over == (how == last and since <= GAP_SECONDS and waiting.seconds(7) >= after)
    assert not waiting.is_over(7, "as before", after, now - 1.0)
    assert not waiting.is_over(8, "as before", 0.0, now)


def test_each_job_has_its_own_count() -> None:
    waiting = Waiting()
    waiting.count(0.0, {7: "a"})
    waiting.count(5.0, {7: "a", 8: "a"})
    waiting.count(10.0, {7: "a", 8: "a"})
    assert waiting.seconds_by_serial() == {7: 10.0, 8: 5.0}
