"""The checker finds each kind of falsehood, and is quiet if everything said was true."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from .checker import ALLOWANCE, check
from .fences import FENCE_SECONDS
from .findings import Kind
from .history import MEMBER, NOTHING, Attack, Cell, Exit, Fence, Final, History, Line, Operation, Outcome, Revocation

HOST = ("hosts:fx", "pc-01")
POOL = ("pools", "fx")


def write(
    start: float,
    end: float | None,
    *cells: tuple[tuple[str, str], str],
    outcome: Outcome = Outcome.OK,
    request: str = "",
    **more: Any,
) -> Operation:
    return Operation(
        actor="writer-1",
        op="pools.add_hosts",
        who="anna",
        start=start,
        end=end,
        outcome=outcome,
        request_id=request or f"r{start}",
        sets=tuple(Cell(*register, value) for register, value in cells),
        **more,
    )


def read(start: float, end: float, age: float = 0.0, **shows: dict[str, str]) -> Operation:
    """A read; `hosts_fx` is the scope `hosts:fx`."""
    return Operation(
        actor="reader-1",
        op="pools.get",
        who="blender",
        start=start,
        end=end,
        outcome=Outcome.OK,
        age=age,
        shows={scope.replace("_", ":"): listing for scope, listing in shows.items()},
    )


def final(*held: tuple[tuple[str, str], str], at: float = 100.0, **more: Any) -> Final:
    holds: dict[str, dict[str, str]] = {}
    for (scope, key), value in held:
        holds.setdefault(scope, {})[key] = value
    return Final(at, holds, **more)


def kinds(*operations: Operation, **more: Any) -> list[Kind]:
    return [finding.kind for finding in check(History(operations, **more))]


ADD = write(1, 2, (HOST, MEMBER))
TAKE_OUT = write(3, 4, (HOST, NOTHING))


# --- the store in the end ---


def test_a_missing_acknowledged_write_is_lost() -> None:
    assert kinds(ADD, final=final((HOST, MEMBER))) == []
    assert kinds(ADD, final=final()) == [Kind.LOST]
    assert kinds(ADD, TAKE_OUT, final=final()) == []
    assert kinds(ADD, TAKE_OUT, final=final((HOST, MEMBER))) == [Kind.LOST]


def test_a_later_change_may_have_taken_it_back_only_if_somebody_asked_for_one() -> None:
    unknown = write(3, None, (HOST, NOTHING), outcome=Outcome.UNKNOWN)
    refused = write(3, 4, (HOST, NOTHING), outcome=Outcome.REFUSED)
    assert kinds(ADD, unknown, final=final()) == []
    assert kinds(ADD, refused, final=final()) == [Kind.LOST]


def test_a_change_whose_answer_never_came_may_be_made_at_any_time_later() -> None:
    unknown = write(1, 2, (HOST, MEMBER), outcome=Outcome.UNKNOWN)
    assert kinds(unknown, TAKE_OUT, final=final((HOST, MEMBER))) == []
    assert kinds(unknown, TAKE_OUT, final=final()) == []


def test_two_changes_at_the_same_time_may_have_been_made_in_either_order() -> None:
    other = write(1.5, 2.5, (HOST, NOTHING))
    for held in (final(), final((HOST, MEMBER))):
        assert kinds(ADD, other, final=held) == []


def test_not_made_is_false_if_the_store_has_it() -> None:
    refused = write(1, 2, (HOST, MEMBER), outcome=Outcome.REFUSED, code="store_unavailable")
    assert kinds(refused, final=final()) == []
    assert kinds(refused, final=final((HOST, MEMBER))) == [Kind.FALSE_NO]
    line = Line("0001", refused.key, refused.op, "fx", "a", "b")
    assert kinds(refused, final=final(lines=(line,))) == [Kind.FALSE_NO]


def test_not_made_is_false_if_a_reader_saw_it_even_if_it_was_undone() -> None:
    refused = write(1, 2, (HOST, MEMBER), outcome=Outcome.REFUSED)
    assert kinds(refused, read(3, 4, hosts_fx={"pc-01": MEMBER}), TAKE_OUT, final=final()) == [Kind.FALSE_NO]


def test_unrequested_values_are_found_in_the_store_and_in_its_history() -> None:
    assert kinds(ADD, final=final((HOST, MEMBER), (("hosts:fx", "pc-99"), MEMBER))) == [Kind.INVENTED]
    line = Line("0001", "mallory:r1", "pools.add_hosts", "fx", "a", "b")
    assert kinds(ADD, final=final((HOST, MEMBER), lines=(line,))) == [Kind.UNASKED]


def test_one_request_in_the_history_twice_was_applied_twice() -> None:
    lines = tuple(Line(number, ADD.key, ADD.op, "fx", "", "b") for number in ("0001", "0002"))
    assert kinds(ADD, final=final((HOST, MEMBER), lines=lines[:1])) == []
    assert kinds(ADD, final=final((HOST, MEMBER), lines=lines)) == [Kind.TWICE]


def test_a_change_that_is_made_again_after_it_was_taken_back_shows() -> None:
    """A store that applies a request a second time, under another key, after another change."""
    again = Line("0003", f"{ADD.key}-again", ADD.op, "fx", "c", "b")
    assert kinds(ADD, TAKE_OUT, final=final((HOST, MEMBER), lines=(again,))) == [Kind.LOST, Kind.UNASKED]


def test_two_pools_with_one_name_are_found() -> None:
    made = write(1, 2, (POOL, MEMBER))
    assert kinds(made, final=final((POOL, MEMBER), doubled=("fx",))) == [Kind.TWICE]


def test_two_clients_cannot_both_have_made_the_same_pool() -> None:
    absent = (Cell(*POOL, NOTHING),)
    first, second = (write(start, start + 2, (POOL, MEMBER), needs=absent) for start in (1, 2))
    held = final((POOL, MEMBER))
    assert kinds(first, final=held) == []
    assert kinds(first, second, final=held) == [Kind.TWICE]
    # Unless it was, or may have been, deleted in between.
    assert kinds(first, write(2, 3, (POOL, NOTHING), outcome=Outcome.UNKNOWN), second, final=held) == []
    assert kinds(first, write(7, 8, (POOL, NOTHING)), second, final=final()) == [Kind.TWICE]


def test_an_acknowledged_entry_must_be_in_the_history() -> None:
    told = write(1, 2, (HOST, MEMBER), change="0001")
    line = Line("0001", told.key, told.op, "fx", "a", "b")
    assert kinds(told, final=final((HOST, MEMBER), lines=(line,))) == []
    assert kinds(told, final=final((HOST, MEMBER))) == [Kind.UNRECORDED]


def test_two_changes_from_the_same_state_mean_that_one_overwrote_the_other() -> None:
    one, two = write(1, 2, (HOST, MEMBER)), write(1.5, 2.5, (("hosts:fx", "pc-02"), MEMBER))
    held = final((HOST, MEMBER), (("hosts:fx", "pc-02"), MEMBER))
    first = Line("0001", one.key, one.op, "fx", "", "b")
    good, bad = (Line("0002", two.key, two.op, "fx", before, "c") for before in ("b", "a"))
    assert kinds(one, two, final=Final(100, held.holds, (first, good))) == []
    assert kinds(one, two, final=Final(100, held.holds, (first, bad))) == [Kind.UNRECORDED]


# --- reads ---


def test_a_fresh_age_on_an_old_pool_is_found() -> None:
    old = {"pc-01": MEMBER}
    assert kinds(ADD, TAKE_OUT, read(4.1 + ALLOWANCE, 7, hosts_fx=old)) == [Kind.STALE]
    assert kinds(ADD, TAKE_OUT, read(4.1 + ALLOWANCE, 7, hosts_fx={})) == []


def test_an_old_pool_with_an_honest_age_is_correct() -> None:
    assert kinds(ADD, TAKE_OUT, read(60, 61, age=55.0, hosts_fx={"pc-01": MEMBER})) == []
    assert kinds(ADD, TAKE_OUT, read(60, 61, age=50.0, hosts_fx={"pc-01": MEMBER})) == [Kind.STALE]


def test_a_change_may_take_its_documented_time_to_be_seen() -> None:
    assert kinds(ADD, TAKE_OUT, read(4 + ALLOWANCE, 7, hosts_fx={"pc-01": MEMBER})) == []


def test_a_pool_without_hosts_added_long_ago_is_old_as_well() -> None:
    assert kinds(ADD, read(9, 10, hosts_fx={})) == [Kind.STALE]


def test_a_mask_says_something_only_about_the_hosts_it_was_tried_on() -> None:
    lets_in, keeps_out = ({"pc-01": value} for value in (MEMBER, NOTHING))

    def mask(tried: dict[str, str]) -> Operation:
        return Operation(actor="reader-1", op="mask", start=9, end=10, outcome=Outcome.OK, tells={"hosts:fx": tried})

    assert kinds(ADD, mask(lets_in)) == []
    assert kinds(ADD, mask(keeps_out)) == [Kind.STALE]
    assert kinds(ADD, mask({})) == []
    assert kinds(ADD, TAKE_OUT, mask(lets_in)) == [Kind.STALE]


def test_a_value_shown_before_it_was_requested_is_invented() -> None:
    assert kinds(read(0, 0.5, hosts_fx={"pc-01": MEMBER}), ADD) == [Kind.INVENTED]


def test_while_an_operator_replaces_everything_nothing_is_certain_and_afterwards_it_is() -> None:
    swap = write(10, 11, (HOST, NOTHING), overwrites=("hosts:fx",))
    during = write(9.5, 10.5, (("hosts:fx", "pc-02"), MEMBER))
    empty: dict[str, str] = {}
    assert kinds(ADD, swap, read(10.2, 10.4, hosts_fx=empty)) == []
    assert kinds(ADD, during, swap, final=final()) == []
    assert kinds(ADD, swap, read(60, 61, hosts_fx={"pc-01": MEMBER})) == [Kind.STALE]


# --- refusals, revocations, exits ---


def test_a_reason_that_was_never_true_is_found() -> None:
    made = write(1, 2, (POOL, MEMBER))
    says_absent = write(5, 6, (HOST, MEMBER), outcome=Outcome.REFUSED, claims=(Cell(*POOL, NOTHING),))
    gone = write(5.5, 7, (POOL, NOTHING))
    assert kinds(made, says_absent) == [Kind.FALSE_REASON]
    assert kinds(made, says_absent, gone) == []


def test_a_revoked_client_gets_five_seconds_and_no_answer_afterwards() -> None:
    revoked = (Revocation("blender", 10.0),)
    assert kinds(read(14, 14.5), revocations=revoked) == []
    assert kinds(read(15.5, 16), revocations=revoked) == [Kind.REVOKED]


def test_a_broker_that_ended_by_itself_is_found() -> None:
    assert kinds(exits=(Exit("alpha", 3.0, -6, ("Assertion failed",)),)) == [Kind.EXIT]


def test_a_healthy_reader_that_an_attack_keeps_from_its_answers_is_shut_out() -> None:
    attacks = (Attack("idle", 10, 20),)
    answered = [read(moment, moment + 0.1) for moment in range(9, 20, 3)]
    healthy = {"attacks": attacks, "healthy": ("reader-1",)}
    assert kinds(*answered, **healthy) == []
    assert kinds(*answered[:2], **healthy) == [Kind.SHUT_OUT]


def test_a_client_that_is_not_answered_after_all_repairs_is_found() -> None:
    assert kinds(read(3, 4), read(11, 12), healed=10.0) == []
    assert kinds(read(3, 4), healed=10.0) == [Kind.STUCK]
    revoked = (Revocation("blender", 3.0),)
    assert kinds(read(3, 4), healed=10.0, revocations=revoked) == []


# --- quiet where everything was true, loud where no order explains it ---

TIMES = st.integers(0, 40).map(lambda tenths: tenths / 10)
MOMENTS = st.integers(0, 600).map(lambda tenths: tenths / 10)


@dataclass
class World:
    """A store that is correct by construction: one dictionary, changed atomically by each write."""

    states: list[tuple[float, dict[tuple[str, str], str]]] = field(default_factory=lambda: [(-1e9, {})])

    def at(self, moment: float) -> dict[tuple[str, str], str]:
        return next(state for time, state in reversed(self.states) if time <= moment)


REGISTERS = [("pools", "fx"), ("pools", "night"), HOST, ("hosts:fx", "pc-02"), ("description:fx", "")]
VALUES = {"description:fx": ["", "old", "new"]}


@st.composite
def asked(draw: st.DrawFn) -> dict[str, Any]:
    """One request and its fate: everything is drawn at random, nothing is decided yet."""
    register = draw(st.sampled_from(REGISTERS))
    return {
        "moment": draw(MOMENTS),
        "before": draw(TIMES),
        "after": draw(TIMES),
        "register": register,
        "value": draw(st.sampled_from(VALUES.get(register[0], [MEMBER, NOTHING]))),
        "kind": draw(st.sampled_from(["write", "create", "read", "refused", "answer lost", "request lost"])),
        "age": draw(TIMES) * 5,
        "lag": draw(st.floats(0, ALLOWANCE)),
    }


def told(requests: list[dict[str, Any]]) -> tuple[list[Operation], World]:
    """What truthful brokers on a correct store tell the clients that sent this."""
    world = World()
    requests = sorted(requests, key=lambda request: request["moment"])
    writes = [_told_of_write(f"r{number}", request, world) for number, request in enumerate(requests)]
    reads = [_shown(request, world) for request in requests if request["kind"] == "read"]
    return [write for write in writes if write is not None] + reads, world


def _told_of_write(name: str, request: dict[str, Any], world: World) -> Operation | None:
    moment, register, value, kind = (request[key] for key in ("moment", "register", "value", "kind"))
    begin, end = moment - request["before"], moment + request["after"]
    more: dict[str, Any] = {"request": name}
    match kind:
        case "read":
            return None
        case "refused":
            return write(begin, end, (register, value), outcome=Outcome.REFUSED, **more)
        case "create":
            value, there = MEMBER, world.at(moment).get(register)
            if there:
                return write(
                    begin,
                    end,
                    (register, value),
                    outcome=Outcome.REFUSED,
                    claims=(Cell(register[0], register[1], there),),
                    **more,
                )
            more["needs"] = (Cell(register[0], register[1], NOTHING),)
        case "answer lost" | "request lost":
            more["outcome"] = Outcome.UNKNOWN
    if kind != "request lost":
        world.states.append((moment, {**world.at(moment), register: value}))
    return write(begin, end, (register, value), **more)


def _shown(request: dict[str, Any], world: World) -> Operation:
    listings: dict[str, dict[str, str]] = {scope: {} for scope, _ in REGISTERS}
    for (scope, key), value in world.at(request["moment"] - request["age"] - request["lag"]).items():
        if value:
            listings[scope][key] = value
    begin, end = request["moment"] - request["before"], request["moment"] + request["after"]
    return read(begin, end, round(request["age"], 1), **{s.replace(":", "_"): held for s, held in listings.items()})


@given(st.lists(asked(), max_size=14))
def test_it_is_quiet_on_every_true_history(requests: list[dict[str, Any]]) -> None:
    operations, world = told(requests)
    state = {register: value for register, value in world.at(1e9).items() if value}
    assert check(History(tuple(operations), final(*state.items()))) == []


WRITES = st.lists(
    st.tuples(MOMENTS, TIMES, st.sampled_from(["", "old", "new"]), st.sampled_from([Outcome.OK, Outcome.UNKNOWN])),
    max_size=5,
)


@given(WRITES, st.sampled_from(["", "old", "new"]))
def test_it_reports_exactly_what_no_order_of_the_writes_explains(
    drawn: list[tuple[float, float, str, Outcome]], left: str
) -> None:
    register = ("description:fx", "")
    writes = [
        write(start, start + lasted, (register, value), outcome=outcome, request=f"r{number}")
        for number, (start, lasted, value, outcome) in enumerate(drawn)
    ]
    explained = any(_last(order) == left for made in _choices(writes) for order in _orders(made))
    assert (check(History(tuple(writes), final((register, left)))) == []) == explained


def _choices(writes: list[Operation]) -> list[list[Operation]]:
    sure = [w for w in writes if w.outcome is Outcome.OK]
    maybe = [w for w in writes if w.outcome is Outcome.UNKNOWN]
    return [sure + list(some) for count in range(len(maybe) + 1) for some in itertools.combinations(maybe, count)]


def _orders(made: list[Operation]) -> list[tuple[Operation, ...]]:
    def allowed(order: tuple[Operation, ...]) -> bool:
        return not any(
            later.outcome is Outcome.OK and later.end is not None and later.end < sooner.start
            for sooner, later in itertools.combinations(order, 2)
        )

    return [order for order in itertools.permutations(made) if allowed(order)]


def _last(order: tuple[Operation, ...]) -> str:
    return order[-1].sets[0].value if order else NOTHING


# --- fences of running jobs ---


def fence(at: float, *lets_in: str, job: str = "job 7") -> Fence:
    return Fence(at, job, "fx", lets_in)


def test_a_mask_that_allows_a_host_never_in_the_pool_is_found() -> None:
    assert kinds(ADD, fences=(fence(2.5, "pc-01"), fence(3, "pc-01", "pc-02"))) == [Kind.LET_OUT]


def test_a_mask_that_allows_a_host_that_joins_only_later_is_found() -> None:
    assert kinds(ADD, fences=(fence(0.9, "pc-01"),)) == [Kind.LET_OUT]


def test_a_mask_may_belong_to_the_change_under_way_but_not_to_one_long_past() -> None:
    soon, late = 4 + FENCE_SECONDS - 0.1, 4 + FENCE_SECONDS + 0.1
    assert kinds(ADD, TAKE_OUT, fences=(fence(soon, "pc-01"),)) == []
    assert kinds(ADD, TAKE_OUT, fences=(fence(late, "pc-01"),)) == [Kind.LET_OUT]


def test_a_mask_that_stays_while_its_pool_changes_is_not_a_finding_until_the_end() -> None:
    assert kinds(ADD, TAKE_OUT, fences=(fence(2.5, "pc-01"),)) == []
    assert kinds(ADD, TAKE_OUT, fences=(fence(2.5, "pc-01"),), final=final()) == [Kind.BEHIND]


def test_the_last_mask_of_each_job_must_match_its_final_pool() -> None:
    held = final((HOST, MEMBER))
    assert kinds(ADD, fences=(fence(0.5), fence(2.5, "pc-01")), final=held) == []
    behind = (fence(2.5, "pc-01"), fence(2.5, job="job 8"))
    assert kinds(ADD, fences=behind, final=held) == [Kind.BEHIND]


def test_a_change_whose_outcome_is_unknown_may_have_been_made() -> None:
    maybe = write(1, None, (HOST, MEMBER), outcome=Outcome.UNKNOWN)
    assert kinds(maybe, fences=(fence(50, "pc-01"),)) == []
