"""The state that reads are answered from at one moment."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from ..config import FarmSection
from .snapshot import Snapshot, SnapshotKeeper


class Moment(NamedTuple):
    """Everything that the answer to a read depends on, besides the request.

    Args:
        snapshot: pools and farm.
        farm: how far the list of renders is trusted.
        age: seconds since the store confirmed the snapshot, to a tenth.
        farm_age: seconds since the list of renders was true, to a tenth; None if there is no such list.
        farm_is_stale: the list is older than `[farm] flag_after`.
        farm_is_too_old: the list is older than `[farm] refuse_after`, so no mask that depends on it is given.
    """

    snapshot: Snapshot
    farm: FarmSection
    age: float
    farm_age: float | None
    farm_is_stale: bool
    farm_is_too_old: bool

    @property
    def can_count(self) -> bool:
        """Whether there is a list of renders recent enough to count how many of a pool's hosts are in it."""
        return not self.farm.by_hand and self.farm_age is not None and not self.farm_is_stale


def moment_of(keeper: SnapshotKeeper, farm: FarmSection, now: dt.datetime) -> Moment:
    """The present moment.

    Args:
        keeper: provides the snapshot.
        farm: how far the list of renders is trusted.
        now: the time, with its zone.

    Raises:
        RequestRefused: what `SnapshotKeeper.current` raises.
    """
    snapshot, age = keeper.current, round(keeper.age, 1)
    renders = snapshot.farm
    if renders is None:
        return Moment(snapshot, farm, age, None, False, False)
    farm_age = renders.age(now)
    return Moment(snapshot, farm, age, round(farm_age, 1), farm_age > farm.flag_after, farm_age > farm.refuse_after)
