"""What the choosers of Nuke, Maya, Houdini and, in part, Natron have in common.

Strategy: a pool is put on a job as soon as the stock script has made the job. If that is not possible, the script ends
there: it has not saved a temporary scene yet, and has sent none of its jobs.
"""

from __future__ import annotations

from .cache import note_recent_pool
from .choice import WITHOUT, Standing, decide
from .client import Client
from .errors import AfpoolsError
from .job import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, List, Tuple

    from .pool_menu import Menu

RENDER_POOL = "Render Pool"
"""What every chooser is called."""

HELP = "The job runs on the hosts of this pool only."


def beside(menu: Menu, pool: str) -> str:
    """What to write beside a chooser that shows the machines itself: what is wrong, or will be."""
    return "\n".join(filter(None, (menu.warning(pool), menu.status())))


def about(menu: Menu, pool: str) -> str:
    """What to write beside a chooser that is saved with the scene: the pool's machines with the time, and what is
    wrong."""
    return "\n".join(filter(None, (menu.dated_label(pool), beside(menu, pool))))


def keep_on(job: Any, chosen: str) -> str:
    """Decides which pool a job gets (see `choice`), and keeps it there.

    Args:
        job: an `af.Job`, with its blocks.
        chosen: what the chooser says: a pool, `WITHOUT`, or empty for nothing.

    Returns:
        A warning for whoever sends the job; empty for none.

    Raises:
        PoolNotApplied: as for `settle`. Do not send the job.
    """
    clients: List[Client] = []

    def client() -> Client:
        clients.append(Client())
        return clients[-1]

    try:
        mask = settle(job, chosen, client)
    finally:
        for made in clients:
            made.close()
    if mask is not None and chosen == mask.pool:
        note_recent_pool(chosen)
    return mask.warning if mask is not None else ""


def refuse_other_pools(node: str, chosen: str, others: Iterable[Tuple[str, str]]) -> None:
    """Checks that the nodes that make a job's blocks are on the job's pool.

    Args:
        node: the name of the node that makes the job.
        chosen: what its chooser says.
        others: the names of those that make its blocks, and what their choosers say.

    Raises:
        AfpoolsError: one of them has another pool; or the job may not be sent without one.
    """
    pool = decide(chosen)
    for other, said in others:
        if said and Standing().resolve(said) != pool:
            theirs = "no pool" if said == WITHOUT else f"the pool {said!r}"
            raise AfpoolsError(
                f"Nothing was sent: {other!r} is on {theirs}, but its job is that of {node!r}, which is on "
                f"{repr(pool) if pool else 'none'}. Choose one pool for both."
            )
