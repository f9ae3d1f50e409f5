"""Host names as people read them. A module of its own, because commands that ask a broker need nothing else of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

LONGEST_NAME = 253

# Renders can be named anything with `afrender -hostname`, but a name with white space, a comma or a bracket in it is
# far more often a list or a range that was mistyped.
NAME = re.compile(rf"[^\s\[\],\x00-\x1f\x7f]{{1,{LONGEST_NAME}}}")


def fold(names: Iterable[str]) -> str:
    """Names as people read them: `gpu-[1-8],pc-[01-40]`. The opposite of `hosts.expand`."""
    plain: list[str] = []
    odd: list[str] = []
    for name in dict.fromkeys(names):
        (plain if NAME.fullmatch(name) and not set(name) & set("!&^@*?%") else odd).append(name)
    folded = str(NodeSet.fromlist(plain, resolver=RESOLVER_NOGROUP)) if plain else ""
    return ",".join([folded, *sorted(odd)] if folded else sorted(odd))
