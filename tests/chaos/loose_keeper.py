"""A broker whose keeper of fences lets jobs out, to show that the judge notices: `python -m tests.chaos.loose_keeper`.

Each mask that it sets allows one host more than the pool has. Everything else about it is the real broker.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from afpools_broker.live import keeper
from afpools_broker.live.plan import Verdict, plan
from afpools_tools.cli import main

from .farm import LATER_HOST


def _loose(*arguments: Any, **named: Any) -> Verdict:
    verdict = plan(*arguments, **named)
    mask = (verdict.params or {}).get("hosts_mask_exclude", "")
    if not mask.startswith("(?!"):
        return verdict
    looser = mask.replace("(?!", f"(?!{LATER_HOST}$|", 1)
    return replace(verdict, params={**(verdict.params or {}), "hosts_mask_exclude": looser})


if __name__ == "__main__":
    keeper.plan = _loose  # type: ignore[attr-defined]
    main()
