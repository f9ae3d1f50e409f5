"""Which pool a job gets: the one place that says who is asked, and in which order.

1. the job itself: `apply_pool` was called on it, or its `custom_data` has `{"afpools": {"pool": "fx"}}`;
2. the chooser of the program that sends it;
3. `$AFPOOLS_POOL`;
4. the studio's default, `"pool"` in profile.json.

The first that says something decides. `WITHOUT` says that there shall be no pool, and an empty text says nothing. Where
the studio's profile.json has `"required": true`, a job that ends up without a pool is not sent.

Strategy: what is said is a text everywhere, so that a scene, a node or a shell can keep it. Files are read where
nothing before them has named a pool, and one that cannot be read is an error: it may be the one that requires a pool.
"""

from __future__ import annotations

import os

from .errors import AfpoolsError
from .profile import studio_default
from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

POOL_VARIABLE = "AFPOOLS_POOL"

WITHOUT = "-"
"""Says that a job shall have no pool. No pool can have this name."""

REQUIRED = (
    f"This studio requires a pool for every job, and none is chosen. Choose one, or name one in ${POOL_VARIABLE}."
)


class Standing(Record):
    """What holds for a job for which nothing is chosen.

    Args:
        pool: the pool's name; empty for none, `WITHOUT` where the environment says so.
        required: whether a job without a pool is not sent.
    """

    pool: str = ""
    required: bool = False

    def resolve(self, said: str) -> str:
        """The pool that a job gets, empty for none.

        Args:
            said: what the job or a chooser says: a pool, `WITHOUT`, or empty for nothing.
        """
        pool = said or self.pool
        return "" if pool == WITHOUT else pool


def from_environment() -> str:
    """What `$AFPOOLS_POOL` says."""
    return os.environ.get(POOL_VARIABLE, "").strip()


def standing(profile_folder: str = "", variable: str = "") -> Standing:
    """What holds in this program where nothing is chosen.

    Args:
        profile_folder: where the profile is; empty: it is looked for (see `find_profile`).
        variable: goes before the studio's default. Without it: what `$AFPOOLS_POOL` says.

    Raises:
        ProfileError: there is a profile, and what it says cannot be read.
    """
    pool, required = studio_default(profile_folder)
    return Standing(variable or from_environment() or pool, required)


def decide(said: str, otherwise: Callable[[], Standing] = standing) -> str:
    """The pool that a job gets.

    Args:
        said: by the job itself, or else by a chooser: a pool, `WITHOUT`, or empty for nothing.
        otherwise: what holds where nothing is chosen. Not called where a pool was named.

    Returns:
        Its name, empty for no pool.

    Raises:
        AfpoolsError: it may not be sent without a pool, or nobody knows whether it may.
    """
    said = said or from_environment()
    if said and said != WITHOUT:
        return said
    holds = otherwise()
    pool = holds.resolve(said)
    if not pool and holds.required:
        raise AfpoolsError(REQUIRED)
    return pool
