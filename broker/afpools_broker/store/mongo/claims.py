"""Names that several MongoDB documents claim: what the documents say, and how to decide between them.

Strategy: pure functions. While a name is claimed twice no pool can be changed, because nothing prevents a second pool
with some third name. Only a person can tell which document is meant; this module turns their decision into steps, each
of which changes one document that still says what was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from bson.raw_bson import RawBSONDocument

from ...pools.history import Entry
from ...pools.pool import Pool, unique
from ...protocol import PoolName
from .documents import read_change, read_pool


@dataclass(frozen=True)
class Claim:
    """A document of the collection `pools` that shares its name with another, or has no valid name for a pool.

    Args:
        document: as it was read.
        id: its `_id`, as people read and type it.
        pool: its contents. If the document has no valid name for a pool, the name here is only for display.
        last: its last change, if it says so.
    """

    document: RawBSONDocument
    id: str
    pool: Pool
    last: Entry | None


@dataclass(frozen=True)
class Conflict:
    """The documents with one name, last changed first; those without a valid name are under the name `""`."""

    name: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class RepairStep:
    """What one document becomes; None: it is deleted."""

    claim: Claim
    becomes: Pool | None


@dataclass(frozen=True)
class Decisions:
    """What the administrator has decided.

    Args:
        keep: ids of documents; the others of the same name are deleted.
        merge: names; the hosts of all its documents go into the one changed last, and the others are deleted.
        rename: new names, by the id of the document.
        delete: ids of documents.
    """

    keep: Sequence[str] = ()
    merge: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    delete: Sequence[str] = ()


def conflicts(documents: Iterable[RawBSONDocument]) -> list[Conflict]:
    """The conflicts between the documents of the collection `pools`, by name.

    Args:
        documents: all of them, except those that are being deleted.
    """
    by_name: dict[str, list[Claim]] = {}
    for document in documents:
        identity = str(document["_id"])
        try:
            pool = read_pool(document, [])
            name = pool.name
        except ValueError:
            pool, name = Pool(f"document {identity}"), ""
        by_name.setdefault(name, []).append(Claim(document, identity, pool, read_change(document)))
    return [
        Conflict(name, tuple(sorted(claims, key=_last_change, reverse=True)))
        for name, claims in sorted(by_name.items())
        if not name or len(claims) > 1
    ]


def _last_change(claim: Claim) -> str:
    return claim.last.id if claim.last else ""


def plan(found: Sequence[Conflict], decisions: Decisions) -> list[RepairStep]:
    """The steps that carry out what was decided, in an order that loses no host if it ends half-way.

    Raises:
        ValueError: a decision names something that is not in conflict, or contradicts another one. The message says
            which.
    """
    claims = {claim.id: claim for conflict in found for claim in conflict.claims}
    steps: dict[str, RepairStep] = {}
    deletions: dict[str, RepairStep] = {}

    def claim(identity: str) -> Claim:
        if identity not in claims:
            raise ValueError(f"No document {identity} is in conflict with another one. Give one of {_listed(claims)}.")
        return claims[identity]

    def decide(step: RepairStep) -> None:
        if step.claim.id in steps or step.claim.id in deletions:
            raise ValueError(f"There are two decisions about the document {step.claim.id}. Give one.")
        (deletions if step.becomes is None else steps)[step.claim.id] = step

    for identity, name in decisions.rename.items():
        renamed = claim(identity)
        try:
            decide(RepairStep(renamed, replace(renamed.pool, name=msgspec.convert(name, PoolName))))
        except msgspec.ValidationError as error:
            raise ValueError(f"{name!r} cannot be a pool's name: {error}.") from None
    for identity in decisions.delete:
        decide(RepairStep(claim(identity), None))
    kept = {claim(identity).id for identity in decisions.keep}
    named = {conflict.name: conflict for conflict in found if conflict.name}
    for name in decisions.merge:
        if name not in named:
            raise ValueError(f"No two documents are named {name!r}. Give one of {_listed(named)}.")
        # Documents that are renamed or deleted do not count.
        left = [each for each in named[name].claims if each.id not in steps and each.id not in deletions]
        if not left:
            raise ValueError(f"Nothing is left to merge: every document of {name!r} is renamed or deleted.")
        first, *others = left
        decide(
            RepairStep(
                first, replace(first.pool, hosts=unique(host for c in (first, *others) for host in c.pool.hosts))
            )
        )
        for other in others:
            decide(RepairStep(other, None))
    for conflict in named.values():
        stay = [each for each in conflict.claims if each.id in kept]
        if len(stay) > 1:
            raise ValueError(f"Only one document can keep the name {conflict.name!r}. Give the others new names.")
        if stay and conflict.name in decisions.merge:
            raise ValueError(f"The documents of {conflict.name!r} are to be merged, or one of them kept: not both.")
        for each in conflict.claims if stay else ():
            if each.id in steps or each.id in deletions:
                if each in stay:
                    raise ValueError(f"There are two decisions about the document {each.id}. Give one.")
            elif each not in stay:
                decide(RepairStep(each, None))
    return [*steps.values(), *deletions.values()]


def undecided(found: Iterable[Conflict], steps: Iterable[RepairStep]) -> list[Conflict]:
    """The conflicts that remain after these steps."""
    moved = {step.claim.id for step in steps if step.becomes is None or step.becomes.name != step.claim.pool.name}
    remain = [
        Conflict(conflict.name, tuple(claim for claim in conflict.claims if claim.id not in moved))
        for conflict in found
    ]
    return [conflict for conflict in remain if len(conflict.claims) > (1 if conflict.name else 0)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none: nothing is in conflict"
