"""Pools as the farm spells them, and the masks made from them.

Strategy: what is derived from one pool and the farm's names is kept in its `Fence`, from one picture to the next, as
long as neither changes. So a change of one pool rebuilds one pool's fence, and a render that joins or leaves rebuilds
those that mention it. What is derived from all pools together (every known host, and which names would become equal
without their domains) is counted name by name, so that only the names that changed are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakKeyDictionary

from ..config import Names
from ..farm.engines import ANY_ENGINE, Engines
from ..farm.farm import Farm
from ..masks.exclude import LENGTH_LIMIT, MadeWithin, Mask, exclude_mask_within, proven_besides
from ..pools.hosts import Spelling
from ..pools.persistent import PersistentMap, persistent
from ..pools.pool import Contents, Moves, Pool, as_afrender_would, came_and_gone, has_domain, unique, unknown_pool
from ..protocol import Dialect, RequestRefused, Style
from .members import members_of
from .tally import Listing, Tally, listing

MaskKey = tuple[str, Style, tuple[Dialect, ...]]

# The key of the registered hosts' fence among those of the pools; no pool has this name.
_REGISTERED = ""


class Known:
    """Every known host.

    Args:
        names: each once, in any order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = sorted(names)
        self._since: WeakKeyDictionary[Known, frozenset[str]] = WeakKeyDictionary()

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.names)

    def differs_from(self, other: Known) -> frozenset[str]:
        """The names that only one of the two has."""
        names = self._since.get(other)
        if names is None:
            names = self._since[other] = self._set ^ other._set
        return names

    def __contains__(self, name: str) -> bool:
        return name in self._set


@dataclass(frozen=True, slots=True)
class _Made:
    """A mask, or why there is none, and what it was made for."""

    within: MadeWithin
    known: Known
    no_find: str
    also: bool


@dataclass(frozen=True, eq=False, slots=True)
class Fence:
    """What is derived from one pool and the farm's names.

    Args:
        pool: the pool.
        members: its hosts, as the farm spells them.
        with_domain: those of its hosts, as they were entered, that have a domain.
        folds: the case-folded names of renders that would change the spelling of one of the hosts, with those hosts;
            None if there are too many to keep.
        as_entered: whether the members are the hosts as they were entered.
        masks: the masks made so far, by style and by what the caller accepts.
    """

    pool: Pool
    members: Set[str]
    with_domain: tuple[str, ...]
    folds: Mapping[str, tuple[str, ...]] | None
    as_entered: bool
    masks: dict[tuple[Style, tuple[Dialect, ...]], tuple[_Made, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, pool: Pool, spelled: _Spelled, farm: frozenset[str]) -> Fence:
        """The fence of a pool."""
        names = unique(map(spelled.__getitem__, pool.hosts))
        as_entered = names == pool.hosts
        return cls(
            pool,
            # The same tuple object if it is equal.
            members_of(pool.hosts if as_entered else names),
            tuple(_with_domain(pool.hosts)),
            _folds([host for host in pool.hosts if host not in farm], len(pool.hosts)),
            as_entered,
        )

    def with_hosts(self, pool: Pool, moves: Moves, spelled: _Spelled, farm: frozenset[str]) -> Fence | None:
        """The fence of the same pool with other hosts, made from the differences; None if it must be made from scratch.

        Args:
            pool: the pool now.
            moves: the hosts that came and went.
            spelled: how names are spelled; those that are in both pools, as before.
            farm: the names of all renders.
        """
        came, gone = moves
        if self.folds is None or not self.as_entered or any(spelled[host] != host for host in came):
            return None
        if pool.hosts == self.pool.hosts:
            return replace(self, pool=pool)
        left = set(gone)
        strangers = [host for hosts in self.folds.values() for host in hosts if host not in left]
        strangers += [host for host in came if host not in farm]
        return Fence(
            pool,
            members_of(pool.hosts),
            (*(host for host in self.with_domain if host not in left), *_with_domain(came)),
            _folds(dict.fromkeys(strangers), len(pool.hosts)),
            True,
        )

    def after(self, names: frozenset[str], folds: frozenset[str], spelled: _Spelled, farm: frozenset[str]) -> Fence:
        """The fence of the same pool after renders have been added or removed, made by updating what they change.

        Args:
            names: the names of these renders.
            folds: the same names, case-folded.
            spelled: how names are spelled now.
            farm: the names of all renders now.
        """
        if self.folds is None or not self.as_entered:
            return self.like(Fence.of(self.pool, spelled, farm))
        # Here the members are the hosts as entered. Of those on the farm, only these can be spelled differently.
        known = self.folds
        looked_at = set(self.members & names)
        looked_at.update(host for fold in folds if fold in known for host in known[fold])
        if any(spelled[host] != host for host in looked_at):
            return self.like(Fence.of(self.pool, spelled, farm))
        strangers = {host for hosts in known.values() for host in hosts} - looked_at
        strangers.update(host for host in looked_at if host not in farm)
        return replace(self, folds=_folds(strangers, len(self.pool.hosts)))

    def like(self, made: Fence) -> Fence:
        """Another fence of the same pool, which keeps what is still valid."""
        if made.members != self.members:
            return made
        # The masks stay valid; what to check when the next render is added may differ.
        return replace(made, members=self.members, masks=self.masks)

    def mentions(self, names: frozenset[str], folds: frozenset[str]) -> bool:
        """Whether its members may change after renders with these names were added or removed; `folds`: the names,
        case-folded."""
        return self.folds is None or not self.folds.keys().isdisjoint(folds) or not self.members.isdisjoint(names)


def _with_domain(hosts: Iterable[str]) -> list[str]:
    return [host for host in hosts if "." in host and has_domain(host)]


_NO_FOLDS: Mapping[str, tuple[str, ...]] = {}


def _folds(strangers: Collection[str], hosts: int) -> Mapping[str, tuple[str, ...]] | None:
    """`Fence.folds` of a pool with this many hosts that the farm does not have."""
    if len(strangers) * 4 > hosts:
        return None
    folds: dict[str, tuple[str, ...]] = {}
    for name in strangers:
        for fold in {name.casefold(), as_afrender_would(name).casefold()}:
            folds[fold] = (*folds.get(fold, ()), name)
    # Of thousands of pools, most have none.
    return folds or _NO_FOLDS


class _Spelled(dict[str, str]):
    """The farm's spelling of names, each looked up once."""

    def __init__(self, spelling: Spelling) -> None:
        super().__init__()
        self._of = spelling.of

    def __missing__(self, name: str) -> str:
        spelled = self[name] = self._of(name)
        return spelled


class _Tables:
    """Counts over all fences; it belongs to the newest `Fences` made from it."""

    def __init__(self) -> None:
        self.owner: Fences | None = None
        self.members: Counter[str] = Counter()
        self.with_domain: Counter[str] = Counter()

    @staticmethod
    def count(counter: Counter[str], came: Collection[str], gone: Iterable[str]) -> set[str]:
        """Counts names; returns those that have appeared or disappeared."""
        others = {name for name in came if name not in counter}
        counter.update(came)
        for name in gone:
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
                others ^= {name}
        return others


class Fences:
    """Pools as the farm spells them, and the masks made from them. Masks are made once and kept.

    Args:
        contents: what the store holds.
        farm: the names of the farm's renders.
        engines: what the versions of these renders allow.
        names: whether these renders cut their names, as `Spelling`.
        last: the previous fences; what is still valid in them is kept.
    """

    def __init__(
        self,
        contents: Contents,
        farm: frozenset[str],
        engines: Engines = ANY_ENGINE,
        names: Names = "auto",
        last: Fences | None = None,
    ) -> None:
        self.farm = farm
        self.engines = engines
        self.names = names
        self._contents = contents
        self._pools = persistent(contents.pools)
        self._tally: tuple[Farm, Tally] | None = None
        self._of_several: dict[tuple[tuple[str, ...], Style, tuple[Dialect, ...], int], MadeWithin] = {}
        if last is not None and last._tables.owner is not last:
            # Others have already been made from it and have taken over its counts.
            last = None
        self._listing: Listing | None = None
        if last is not None and last._listing is not None:
            self._listing = listing(self._pools, (last._pools, last._listing))
        self._last_tally: Tally | None = (last._tally[1] if last._tally else last._last_tally) if last else None
        self._tables: _Tables = _Tables() if last is None else last._tables
        self._tables.owner = self
        self._fences: PersistentMap[Fence] = PersistentMap() if last is None else last._fences
        self.members: PersistentMap[Set[str]] = PersistentMap() if last is None else last.members
        """The hosts of each pool, as the farm spells them."""
        changed = self._changed(last)
        moves = self._moves(changed)
        self.spelling = self._spell(last, moves)
        """The farm's spelling of entered names."""
        respelled = self._respelled(last)
        if last is None or respelled is None or self.farm is not last.farm or self.spelling is not last.spelling:
            self._spelled = _Spelled(self.spelling)
        else:
            self._spelled = last._spelled
        known = self._refresh(changed, moves, last, respelled)
        if last is None or self.farm is not last.farm or known:
            self.known_hosts = Known({*self.farm, *self._tables.members})
        else:
            self.known_hosts = last.known_hosts
        if last is not None and self.known_hosts is last.known_hosts and respelled is not None:
            self._also: frozenset[str] = last._also
        else:
            self._also = self.spelling.also(self.known_hosts.names)

    def _changed(self, last: Fences | None) -> dict[str, Pool | None]:
        """The pools that have changed, None for those that no longer exist."""
        names = self._pools.differing(last._pools if last else {})
        changed: dict[str, Pool | None] = {name: self._pools.get(name) for name in names}
        if last is None or last._contents.registered is not self._contents.registered:
            changed[_REGISTERED] = self._contents.registered
        return changed

    def _moves(self, changed: dict[str, Pool | None]) -> dict[str, Moves]:
        """The hosts that joined each of these pools, and those that left it."""
        moves: dict[str, Moves] = {}
        for name, pool in changed.items():
            before = self._fences.get(name)
            moves[name] = came_and_gone(before.pool.hosts if before else (), pool.hosts if pool else ())
        return moves

    def _spell(self, last: Fences | None, moves: dict[str, Moves]) -> Spelling:
        came = [host for joined, _ in moves.values() for host in _with_domain(joined)]
        gone = [host for _, left in moves.values() for host in _with_domain(left)]
        others = _Tables.count(self._tables.with_domain, came, gone)
        if last is None or self.farm is not last.farm or self.names != last.names:
            return Spelling(self.farm, self._tables.with_domain, self.names)
        return last.spelling.among(self._tables.with_domain) if others else last.spelling

    def _respelled(self, last: Fences | None) -> set[str] | None:
        """The pools whose members may have changed although the pools did not; None if all may have."""
        if last is None or not self.spelling.is_like(last.spelling):
            return None
        found: set[str] = set()
        unsure = self.spelling.unsure ^ last.spelling.unsure
        if unsure:
            found |= {
                name
                for name, fence in self._fences.items()
                if fence.with_domain and not unsure.isdisjoint(map(as_afrender_would, fence.with_domain))
            }
        if self.farm is not last.farm:
            names = self.farm ^ last.farm
            folds = frozenset(map(str.casefold, names))
            found |= {name for name, fence in self._fences.items() if fence.mentions(names, folds)}
        return found

    def _refresh(
        self, changed: dict[str, Pool | None], moves: dict[str, Moves], last: Fences | None, respelled: set[str] | None
    ) -> bool:
        """Makes fences; returns whether the set of all their members has changed.

        Args:
            changed: the pools that have changed, None for those that are gone.
            moves: the hosts that came into each of them, and those that left it.
            last: the previous fences.
            respelled: the pools whose members may have changed; None if nothing that was kept is valid any more.
        """
        others = False
        made: dict[str, Fence | None] = {}
        moved = frozenset[str]()
        if last is not None and self.farm is not last.farm and self.spelling.unsure == last.spelling.unsure:
            moved = self.farm ^ last.farm
        folds = frozenset(map(str.casefold, moved))
        for name in {*changed, *(self._fences.keys() if respelled is None else respelled)}:
            before = self._fences.get(name)
            pool = changed[name] if name in changed else self._fences[name].pool
            after: Fence | None = None
            if before and pool and respelled is not None and name in changed and name not in respelled:
                after = before.with_hosts(pool, moves[name], self._spelled, self.farm)
            elif respelled is not None and before and moved and name not in changed:
                after = before.after(moved, folds, self._spelled, self.farm)
            if after is None and pool is not None:
                after = Fence.of(pool, self._spelled, self.farm)
                if before and name not in changed:
                    if respelled is not None:
                        after = before.like(after)
                    elif before.members == after.members:
                        # As when the farm is seen for the first time: a second copy of all members would leave much
                        # unused memory behind.
                        after = replace(after, members=before.members)
            made[name] = after
            old = before.members if before else ()
            new = after.members if after else ()
            if old is not new:
                came, gone = came_and_gone(tuple(old), tuple(new))
                others |= bool(_Tables.count(self._tables.members, came, gone) - self.farm)
        self._fences = self._fences.evolve(made)
        made.pop(_REGISTERED, None)
        members = {name: fence.members if fence else None for name, fence in made.items()}
        self.members = self.members.evolve(
            {name: now for name, now in members.items() if now is None or now is not self.members.get(name)}
        )
        return others

    @property
    def registered(self) -> Set[str]:
        """The hosts registered by hand, as the farm spells them."""
        return self._fences[_REGISTERED].members

    def spelled(self, hosts: Iterable[str]) -> frozenset[str]:
        """These hosts, as the farm spells them."""
        return frozenset(map(self.spelling.of, hosts))

    @property
    def known(self) -> list[str]:
        """Every known host: renders, hosts registered by hand, members of pools. Sorted, each once."""
        return self.known_hosts.names

    def inside(self, pools: Sequence[str]) -> Set[str]:
        """The hosts of one pool, or of several together, as the farm spells them."""
        first = self.members[pools[0]]
        return first if len(pools) == 1 else frozenset(first).union(*(self.members[name] for name in pools[1:]))

    def nameable(self, *pools: str) -> list[str]:
        """The hosts that a mask of these pools is made for: every known host and, if nothing shows whether this farm's
        renders cut their names, the other names that hosts of other pools may have. Sorted, each once."""
        if not self._also:
            return self.known
        return sorted({*self.known, *(self._also - self.spelling.also(self.inside(pools)))})

    @property
    def listing(self) -> Listing:
        """The list of pools, without counts of renders; made now if necessary. It is not needed while those are
        known."""
        if self._listing is None:
            self._listing = listing(self._pools)
        return self._listing

    @property
    def listing_at_hand(self) -> Listing | None:
        """The same, if it has been made already."""
        return self._listing

    def tally(self, farm: Farm) -> Tally:
        """How many hosts of each pool are renders, and online, made now if necessary.

        Args:
            farm: has the render names that these fences are made for.
        """
        kept = self._tally
        if kept is not None and (kept[0] is farm or kept[1].online == farm.online):
            tally = kept[1]
        else:
            last = kept[1] if kept is not None else self._last_tally
            tally = Tally(self._pools, self.members, self.farm, farm.online, last)
        self._tally = farm, tally
        self._last_tally = None
        return tally

    @property
    def counted(self) -> bool:
        """Whether somebody has asked for a tally, for these fences or the previous ones."""
        return self._tally is not None or self._last_tally is not None

    def tally_at_hand(self, farm: Farm) -> Tally | None:
        """The same as `tally`, if it has been made already."""
        kept = self._tally
        return kept[1] if kept is not None and kept[0] is farm else None

    def mask_at_hand(self, key: MaskKey, max_bytes: int = LENGTH_LIMIT) -> Mask | None:
        """The mask, if it has been made already.

        Raises:
            RequestRefused: it has already been tried, and there is none.
        """
        name, style, accept = key
        if name not in self.members:
            return None
        for made in self._fences[name].masks.get((style, accept), ()):
            if made.known is self.known_hosts and self._holds(made) and made.within.answers(max_bytes):
                return made.within.given()
        return None

    def _holds(self, made: _Made) -> bool:
        return (made.no_find, made.also) == (self.engines.no_find, bool(self._also))

    def mask(self, key: MaskKey, max_bytes: int = LENGTH_LIMIT) -> Mask:
        """The mask, made now if necessary.

        Args:
            key: which one.
            max_bytes: the longest mask allowed, as for `masks.exclude_mask_within`.

        Raises:
            RequestRefused: `unknown_pool`, `empty_pool`, `mask_not_expressible`.
        """
        at_hand = self.mask_at_hand(key, max_bytes)
        if at_hand is not None:
            return at_hand
        name, style, accept = key
        if name not in self.members:
            raise unknown_pool(name, self.members)
        fence = self._fences[name]
        kept = fence.masks.get((style, accept), ())
        within = self._still_right(kept, fence, max_bytes) or exclude_mask_within(
            fence.members,
            self.nameable(name),
            accept=accept,
            style=style,
            no_find=self.engines.no_find,
            max_bytes=max_bytes,
        )
        made = _Made(within, self.known_hosts, self.engines.no_find, bool(self._also))
        # However many lengths are asked for, there are only as many answers as there are styles to fall back on. Two
        # threads may have made the same answer.
        fence.masks[style, accept] = (
            made,
            *(
                other
                for other in kept
                if other.known is self.known_hosts and self._holds(other) and other.within.least != within.least
            ),
        )
        return within.given()

    def mask_of_all(
        self, pools: tuple[str, ...], style: Style, accept: tuple[Dialect, ...], max_bytes: int = LENGTH_LIMIT
    ) -> Mask:
        """The mask that keeps a job on the hosts of several pools. It is made once as long as pools and farm stay as
        they are.

        Raises:
            RequestRefused: as `mask`; `empty_pool` if all of them are empty.
        """
        for name in pools:
            if name not in self.members:
                raise unknown_pool(name, self.members)
        key = (pools, style, accept, max_bytes)
        within = self._of_several.get(key)
        if within is None:
            within = self._of_several[key] = exclude_mask_within(
                self.inside(pools),
                self.nameable(*pools),
                accept=accept,
                style=style,
                no_find=self.engines.no_find,
                max_bytes=max_bytes,
            )
        return within.given()

    def _still_right(self, kept: Iterable[_Made], fence: Fence, max_bytes: int) -> MadeWithin | None:
        """The mask that was made for other known hosts, if it depends on the pool's names only: read back for the hosts
        that have become known since. None if it must be made again."""
        for made in kept:
            mask = made.within.mask
            if self._also or not self._holds(made) or not made.within.answers(max_bytes):
                continue
            if isinstance(mask, RequestRefused) or mask.style != "complement" or mask.why:
                continue
            others = self.known_hosts.differs_from(made.known)
            came = [name for name in others if name in self.known_hosts]
            proven = proven_besides(mask, came, others, len(self.known) - len(fence.members))
            if proven is not None:
                return replace(made.within, mask=proven)
        return None
