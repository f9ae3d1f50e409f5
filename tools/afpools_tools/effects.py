"""What an exclude mask does to the hosts of a farm, compared with what it should do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from afpools import HostSummary

from .words import plural

if TYPE_CHECKING:
    from afpools_broker.masks.check import Checked
    from afpools_broker.protocol import Dialect


@dataclass(frozen=True)
class Effect:
    """What a mask does, read as one type, compared with what it should do.

    Args:
        dialect: the type.
        checked: what it does.
        known: every host.
        inside: the hosts that it should let through; None if not given.
    """

    dialect: Dialect
    checked: Checked
    known: frozenset[str]
    inside: frozenset[str] | None

    @property
    def strays(self) -> frozenset[str]:
        """The hosts that it lets through and should not."""
        if self.checked.excluded is None or self.inside is None:
            return frozenset()
        return self.known - self.inside - self.checked.excluded

    @property
    def lost(self) -> frozenset[str]:
        """The hosts that it keeps out and should not."""
        if self.checked.excluded is None or self.inside is None:
            return frozenset()
        return self.inside & self.checked.excluded

    @property
    def wrong(self) -> frozenset[str]:
        """The hosts for which the outcome is wrong."""
        return self.strays | self.lost

    def for_programs(self) -> dict[str, Any]:
        """The same as a JSON object."""
        excluded = self.checked.excluded
        found: dict[str, Any] = {
            "compiles": self.checked.compiles,
            "runs": None if excluded is None else sorted(self.known - excluded),
            "kept_out": None if excluded is None else sorted(excluded),
        }
        if self.inside is not None:
            found["right"] = None if excluded is None else not self.wrong
            found["wrong"] = None if excluded is None else sorted(self.wrong)
        return found


def effects(mask: str, known: frozenset[str], inside: frozenset[str]) -> list[Effect]:
    """What a mask does, read as either type.

    Args:
        mask: the exclude mask.
        known: every host.
        inside: the hosts that it should let through.
    """
    # Imported here: a plain mask does not need it, and should not wait for it.
    from afpools_broker.masks.check import check

    dialects: tuple[Dialect, ...] = ("regex", "find")
    return [Effect(dialect, check(mask, dialect, known), known, inside) for dialect in dialects]


def judge(pattern: str, dialect: Dialect, pool: str | None, hosts: Sequence[HostSummary]) -> tuple[Effect, list[str]]:
    """What a mask does on these hosts, and sentences that warn about it.

    Args:
        pattern: the mask.
        dialect: its type.
        pool: the one it is meant for, if any.
        hosts: every known host.
    """
    from afpools_broker.farm.engines import engines_of
    from afpools_broker.farm.farm import Render
    from afpools_broker.masks.check import check

    known = frozenset(host.name for host in hosts)
    renders = [Render(host.name, host.states, engine=host.engine) for host in hosts if host.states]
    inside = None if pool is None else frozenset(host.name for host in hosts if pool in host.pools)
    checked = check(pattern, dialect, known, engines_of(renders) if renders else None)
    effect = Effect(dialect, checked, known, inside)
    warnings = list(effect.checked.warnings)
    if not known:
        warnings.append("No hosts are known yet, so there is nothing to try it on: afpools host register 'pc-[01-40]'")
    if effect.lost:
        warnings.append(f"It keeps the job off {plural(len(effect.lost), 'host')} of {pool!r}.")
    if effect.strays:
        warnings.append(f"It lets the job run on {plural(len(effect.strays), 'host')} outside {pool!r}.")
    return effect, warnings
