"""Which pool a job gets: the one place that says who is asked, and in which order.

1. the job itself: `apply_pool` was called on it, or its `custom_data` has `{"afpools": {"pool": "fx"}}`;
2. the chooser of the program that sends it;
3. `$AFPOOLS_POOL`;
4. the studio's default, `"pool"` in profile.json.

The first that says something decides. `WITHOUT` means no pool, and an empty string says nothing. If the studio's
profile.json has `"required": true`, a job that ends up without a pool is not sent.

Strategy: every choice is a string, so that a scene, a node or a shell can store it. A file is only read if nothing
before it has named a pool, and a file that cannot be read is an error, because it may be the one that requires a pool.
"""

from __future__ import annotations

import os

from .errors import AfpoolsError
from .profile import studio_default
from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

POOL_VARIABLE = "AFPOOLS_POOL"

WITHOUT = "-"
"""Means that a job is to have no pool. No pool can have this name."""

REQUIRED = (
    f"This studio requires a pool for every job, and none is chosen. Choose one, or name one in ${POOL_VARIABLE}."
)


class Standing(Record):
    """What applies to a job if nothing is chosen.

    Args:
        pool: the pool's name; empty for none, `WITHOUT` if the environment says so.
        required: whether to refuse a job without a pool.
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


def standing(profile_folder: str = "", variable: Optional[str] = None) -> Standing:
    """What applies in this program if nothing is chosen.

    Args:
        profile_folder: where the profile is; if empty, `find_profile` looks for it.
        variable: overrides the studio's default. If not given: the value of `$AFPOOLS_POOL`.

    Raises:
        ProfileError: there is a profile, but it cannot be read.
    """
    pool, required = studio_default(profile_folder)
    return Standing((from_environment() if variable is None else variable) or pool, required)


def decide(said: str, otherwise: Callable[[], Standing] = standing) -> str:
    """The pool that a job gets.

    Args:
        said: what the job itself, or else a chooser, says: a pool, `WITHOUT`, or empty for nothing.
        otherwise: returns what applies if nothing is chosen. Not called if a pool was named.

    Returns:
        Its name, empty for no pool.

    Raises:
        AfpoolsError: the job may not be sent without a pool, or it is not known whether it may.
    """
    said = said or from_environment()
    if said and said != WITHOUT:
        return said
    holds = otherwise()
    pool = holds.resolve(said)
    if not pool and holds.required:
        raise AfpoolsError(REQUIRED)
    return pool
