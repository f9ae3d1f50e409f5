"""Puts the pool on jobs that this Python sends; knows nothing about Blender.

Strategy: two checks, one after the other. The stock operator is wrapped, to find out whether the job can be kept on its
pool before anything is packed or saved. And CGRU's module `af`, whenever and by whomever it is imported, is changed so
that no job is sent without the chosen pool; that works even if the operator is not the one we know.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, List, Optional, Tuple

from .afpools.cgru import ImportHook, set_masks
from .afpools.choice import Standing
from .afpools.client import Client
from .afpools.errors import AfpoolsError, PoolNotApplied
from .afpools.job import apply_on_send, apply_pool


class SendHook:
    """Puts the chosen pool on every job that is sent through CGRU's `af`, which may be imported at any time later.

    Args:
        chosen: returns what the chooser has now, see `choice`.
        client: returns the client to ask.
        otherwise: returns what applies if nothing is chosen.
    """

    def __init__(
        self, chosen: Callable[[], str], client: Callable[[], Client], otherwise: Callable[[], Standing]
    ) -> None:
        self._chosen = chosen
        self._client = client
        self._otherwise = otherwise
        self._hooked: List[Tuple[Any, Callable[[], None]]] = []
        self._imports = ImportHook("af", self.cover)

    def install(self) -> None:
        """From now on, `import af` returns a hooked module."""
        self._imports.install()
        if "af" in sys.modules:
            self.cover(sys.modules["af"])

    def remove(self) -> None:
        self._imports.remove()
        while self._hooked:
            self._hooked.pop()[1]()

    def cover(self, af: Any) -> bool:
        """Makes sure that this module's jobs go through us, even if others have wrapped its `send` since.

        Returns:
            False if the module is not like CGRU's, so that nothing can be done.
        """
        job: Any = getattr(af, "Job", None)
        if not callable(getattr(job, "send", None)):
            return False
        # Goes on top of somebody else's wrapper, which may itself wrap ours: applying a pool twice has the same effect
        # as once.
        if not any(job.send is send for send, _ in self._hooked):
            take_back = apply_on_send(af, self._chosen, self._client, otherwise=self._otherwise)
            self._hooked.append((job.send, take_back))
        return True


def check(hook: SendHook, pool: str, client: Callable[[], Client], hosts_mask: str, exclude_mask: str) -> str:
    """Checks whether a job with these masks of its own could be kept on the pool, before any work is done for it.

    Args:
        hook: the hook that will put the pool on the job.
        pool: the pool's name.
        client: returns the client to ask.
        hosts_mask: as the artist typed it, empty for none.
        exclude_mask: the same.

    Returns:
        A sentence that the artist should read first, such as that the job will wait; usually empty.

    Raises:
        PoolNotApplied: it could not, or there is nothing that would put the pool on it.
    """
    try:
        # Importing it reads the studio's configuration, and raises whatever is wrong there.
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
    """Makes an operator call a function before it executes.

    Args:
        operator: Blender's operator class. It looks `execute` up again each time it runs.
        before: called with the operator and the context; raises `PoolNotApplied` to stop it.
        refused: called with the operator and the reason; what it returns is the operator's outcome.

    Returns:
        A function that takes it back. None if the class has no `execute` of its own, so that there is nothing to wrap.
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
        # If somebody else has wrapped our function, it stays, and passes everything on.
        if vars(operator).get("execute") is execute:
            operator.execute = stock

    operator.execute = execute
    return take_back
