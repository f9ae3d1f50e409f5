"""What the choosers of Nuke, Maya and Houdini have in common.

Strategy: a pool is put on a job as soon as the stock script has made the job. If that is not possible, the script ends
there: it has not saved a temporary scene yet, and has sent none of its jobs.
"""

from __future__ import annotations

from .client import Client
from .errors import AfpoolsError
from .job import settle
from .pool_menu import NO_POOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Tuple

    from .pool_menu import Menu

RENDER_POOL = "Render Pool"
"""What every chooser is called."""

HELP = "The job runs on the hosts of this pool only."


def name_in(label: str) -> str:
    """The name of the pool in its label, as `Menu.choices` gives it without counts; empty for no pool."""
    return "" if label == NO_POOL else label.rpartition(", ")[0]


def about(menu: Menu, pool: str) -> str:
    """What to write beside a chooser that is saved with the scene: the pool's machines with the time, and what is
    wrong."""
    return "\n".join(filter(None, (menu.dated_label(pool), menu.warning(pool), menu.status())))


def keep_on(job: Any, pool: str) -> str:
    """Decides which pool a job gets (see `choice`), and keeps it there.

    Args:
        job: an `af.Job`, with its blocks.
        pool: what the chooser says; empty for nothing.

    Returns:
        A warning for whoever sends the job; empty for none.

    Raises:
        PoolNotApplied: as for `settle`. Do not send the job.
    """
    mask = settle(job, pool, Client)
    return mask.warning if mask is not None else ""


def refuse_other_pools(node: str, pool: str, others: Iterable[Tuple[str, str]]) -> None:
    """Checks that the nodes that make a job's blocks are on the job's pool.

    Args:
        node: the name of the node that makes the job.
        pool: its pool, empty for none.
        others: the names and pools of those that make its blocks.

    Raises:
        AfpoolsError: one of them has another pool.
    """
    for other, its_pool in others:
        if its_pool and its_pool != pool:
            raise AfpoolsError(
                f"Nothing was sent: {other!r} is on the pool {its_pool!r}, but its job is that of {node!r}, which is "
                f"on {repr(pool) if pool else 'none'}. Choose one pool for both."
            )
