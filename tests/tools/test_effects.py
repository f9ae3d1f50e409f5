"""What a mask does to hosts, compared with what it should do."""

from __future__ import annotations

from afpools import HostSummary
from afpools_tools.effects import effects, judge

KNOWN = frozenset({"pc-01", "pc-02", "pc-03"})


def test_allowed_and_excluded_hosts_are_listed_for_either_type() -> None:
    regex, find = effects("pc-0[23]", KNOWN, frozenset({"pc-01"}))
    assert (regex.dialect, regex.wrong) == ("regex", frozenset())
    # `find` takes these as literal brackets, which no name has.
    assert (find.dialect, find.strays, find.lost) == ("find", {"pc-02", "pc-03"}, frozenset())


def test_an_excluded_host_of_the_pool_counts_as_lost() -> None:
    regex, _ = effects("pc-.*", KNOWN, frozenset({"pc-01"}))
    assert (regex.lost, regex.strays) == ({"pc-01"}, frozenset())
    assert regex.for_programs()["wrong"] == ["pc-01"]


def test_a_mask_is_judged_with_sentences() -> None:
    hosts = [HostSummary("pc-01", registered=True, pools=("fx",)), HostSummary("pc-02", registered=True)]
    effect, warnings = judge("pc-01", "find", "fx", hosts)
    assert effect.lost == {"pc-01"}
    assert warnings[-2:] == [
        "It keeps the job off 1 host of 'fx'.",
        "It lets the job run on 1 host outside 'fx'.",
    ]
