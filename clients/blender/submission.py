"""How jobs that leave this Python get their pool; knows nothing of Blender.

Strategy: two gates, one behind the other. The stock operator is wrapped, so that whether the job can be kept on its
pool is known before anything is packed or saved. And CGRU's module `af`, whenever and by whomever it is imported, is
changed so that no job is sent without the pool that is chosen; that holds where the operator is not as we know it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, List, Optional, Tuple

from .afpools.cgru import ImportHook, set_masks
from .afpools.client import Client
from .afpools.errors import AfpoolsError, PoolNotApplied
from .afpools.job import apply_on_send, apply_pool


class SendHook:
    """Puts the chosen pool on every job that is sent through CGRU's `af`, which may be imported at any later time.

    Args:
        chosen: the pool's name at this moment, empty for no pool.
        client: the client to ask.
    """

    def __init__(self, chosen: Callable[[], str], client: Callable[[], Client]) -> None:
        self._chosen = chosen
        self._client = client
        self._hooked: List[Tuple[Any, Callable[[], None]]] = []
        self._imports = ImportHook("af", self.cover)

    def install(self) -> None:
        """From now on, `import af` gives a module that is hooked."""
        self._imports.install()
        if "af" in sys.modules:
            self.cover(sys.modules["af"])

    def remove(self) -> None:
        self._imports.remove()
        while self._hooked:
            self._hooked.pop()[1]()

    def cover(self, af: Any) -> bool:
        """Sees to it that jobs of this module go through us, whatever others have made of its `send` since.

        Returns:
            False where the module is not as CGRU's is, so that nothing can be done.
        """
        job: Any = getattr(af, "Job", None)
        if not callable(getattr(job, "send", None)):
            return False
        # On top of somebody else's wrapper, which may have ours below it: a job that gets its pool twice has it
        # once.
        if not any(job.send is send for send, _ in self._hooked):
            take_back = apply_on_send(af, self._chosen, self._client)
            self._hooked.append((job.send, take_back))
        return True


def check(hook: SendHook, pool: str, client: Callable[[], Client], hosts_mask: str, exclude_mask: str) -> str:
    """Whether a job with these masks of its own could be kept on the pool, before anything is done for it.

    Args:
        hook: what will put the pool on the job.
        pool: the pool's name.
        client: the client to ask.
        hosts_mask: as the artist typed it, empty for none.
        exclude_mask: the same.

    Returns:
        What the artist should know before the job waits for it, in a sentence; mostly empty.

    Raises:
        PoolNotApplied: it could not, or nothing would see to it.
    """
    try:
        # It reads the studio's configuration meanwhile, and raises whatever it finds wrong there.
        import af
    except Exception as error:
        why = f"CGRU's Python module 'af' cannot be imported ({error}). Check CGRU's location in its preferences."
        raise PoolNotApplied(pool, AfpoolsError(why)) from error
    if not hook.cover(af):
        where = getattr(af, "__file__", None) or "that was found"
        why = f"The Python module 'af' {where} has no Job.send as CGRU's has. Check CGRU's location in its preferences."
        raise PoolNotApplied(pool, AfpoolsError(why))
    try:
        trial = af.Job("trial")
        set_masks(trial, hosts_mask, exclude_mask)
        mask = apply_pool(trial, pool, client())
    except PoolNotApplied:
        raise
    except AfpoolsError as error:
        raise PoolNotApplied(pool, error) from error
    return mask.warning if mask is not None else ""


def wrap_execute(
    operator: Any, before: Callable[[Any, Any], None], refused: Callable[[Any, PoolNotApplied], Any]
) -> Optional[Callable[[], None]]:
    """Has an operator ask before it executes.

    Args:
        operator: Blender's operator class. It looks `execute` up again each time it runs.
        before: called with the operator and the context; raises `PoolNotApplied` to stop it.
        refused: called with the operator and the reason; what it returns is the operator's outcome.

    Returns:
        Takes it back. None where the class has no `execute` of its own, so that there is nothing to wrap.
    """
    stock = vars(operator).get("execute")
    if not callable(stock):
        return None

    @functools.wraps(stock)
    def execute(self: Any, context: Any) -> Any:
        if taken_back:
            return stock(self, context)
        try:
            before(self, context)
            return stock(self, context)
        except PoolNotApplied as error:
            return refused(self, error)

    taken_back: List[bool] = []

    def take_back() -> None:
        taken_back.append(True)
        # Somebody may have put a wrapper of their own around ours; then it stays, and passes everything on.
        if vars(operator).get("execute") is execute:
            operator.execute = stock

    operator.execute = execute
    return take_back
