"""The errors of a call to the broker. Each message says what happened, with which value, and what to do next."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional, Sequence, Tuple, Type


class AfpoolsError(Exception):
    """Base of every error that this library raises on purpose. Show `str()` of it to the user."""


class ProfileError(AfpoolsError):
    """There is no profile, or it is incomplete or unreadable."""


class NoProfile(ProfileError):
    """No place has a profile."""


class PoolNotApplied(AfpoolsError):
    """A job was not sent, because it could not be kept on its pool.

    Args:
        pool: the pool's name; empty if the job has none and needs one, or if that is unknown.
        cause: what prevented it.

    Attributes:
        pool: the same.
        cause: the same.
    """

    def __init__(self, pool: str, cause: AfpoolsError) -> None:
        super().__init__(pool, cause)
        self.pool = pool
        self.cause = cause

    def __str__(self) -> str:
        if not self.pool:
            return f"The job was not sent. {self.cause}"
        return f"The job was not sent: it cannot be kept on the pool {self.pool!r}. {self.cause}"


class BrokerUnreachable(AfpoolsError):
    """No broker answered in time. If the call was a change, it was not sent to any of them (else it is
    `OutcomeUnknown`).

    Args:
        attempts: for each endpoint in the order tried: its URL, and a clause that says why there is no answer.

    Attributes:
        attempts: the same.
    """

    def __init__(self, attempts: Sequence[Tuple[str, str]]) -> None:
        super().__init__(attempts)
        self.attempts = tuple(attempts)

    def __str__(self) -> str:
        return "No broker answered." + _listed(self.attempts)


class OutcomeUnknown(AfpoolsError):
    """A change was sent to a broker, and no answer says whether it was made. A broker that hangs now may still make it
    later.

    A refusal, by another broker or by the same one, does not change that: it is about its own attempt only.
    Making the change again with the same `request_id` is safe, because it is made at most once.

    Args:
        attempts: as for `BrokerUnreachable`; for a broker that refused, what it said.
        request_id: the change's.

    Attributes:
        attempts: the same.
        request_id: the same.
    """

    def __init__(self, attempts: Sequence[Tuple[str, str]], request_id: str) -> None:
        super().__init__(attempts, request_id)
        self.attempts = tuple(attempts)
        self.request_id = request_id

    def __str__(self) -> str:
        return "It is not known whether the change was made." + _listed(self.attempts)


def _listed(attempts: Sequence[Tuple[str, str]]) -> str:
    """The outcome of each attempt: after the sentence if there was one attempt, else one on each line."""
    start = " " if len(attempts) == 1 else "\n  "
    return "".join(f"{start}{url}: {_ended(why)}" for url, why in attempts)


def _ended(clause: str) -> str:
    """With a period, unless a broker's own sentence already ends with one."""
    return clause if clause.endswith(".") else f"{clause}."


class BrokerRefused(AfpoolsError):
    """A broker answered and refused. Codes that this version of the library does not know arrive as this class.

    Args:
        code: the error code on the wire, see docs/wire.md.
        message: the broker's sentence for people.
        made: False where the broker is certain that this request changed nothing.

    Attributes:
        code: the same.
        message: the same.
        made: the same.
    """

    def __init__(self, code: str, message: str, made: Optional[bool] = None) -> None:
        super().__init__(code, message, made)
        self.code = code
        self.message = message
        self.made = made

    def __str__(self) -> str:
        return self.message or f"The broker refused with the code {self.code!r} and without a reason."


class BadRequest(BrokerRefused):
    """`bad_request`: a parameter is not what it must be."""


class UnsupportedVersion(BrokerRefused):
    """`unsupported_version`: client or broker is too old."""


class UnknownOp(BrokerRefused):
    """`unknown_op`: the broker does not have this operation; it may be too old."""


class Forbidden(BrokerRefused):
    """`forbidden`: the credential does not allow it, or was revoked."""


class UnknownPool(BrokerRefused):
    """`unknown_pool`: there is no pool with this name."""


class UnknownHost(BrokerRefused):
    """`unknown_host`: no machine on the farm has the name, and `new_hosts` was not set."""


class PoolExists(BrokerRefused):
    """`pool_exists`: the name is taken, or looks like one that is."""


class EmptyPool(BrokerRefused):
    """`empty_pool`: a pool without hosts has no mask."""


class Conflict(BrokerRefused):
    """`conflict`: the pool has changed since it was read."""


class MaskNotExpressible(BrokerRefused):
    """`mask_not_expressible`: there is no correct mask that the caller can set. Do not send the job."""


class FarmUnavailable(BrokerRefused):
    """`farm_unavailable`: the broker has never seen the farm, or its list of renders is older than the studio allows
    for a mask that names renders. Do not send the job."""


class StoreUnavailable(BrokerRefused):
    """`store_unavailable`: the broker's database is unreachable. Nothing was changed (else it is `OutcomeUnknown`)."""


class TooLarge(BrokerRefused):
    """`too_large`: the request is larger than the broker accepts."""


class RateLimited(BrokerRefused):
    """`rate_limited`: too many requests at once."""


class InternalError(BrokerRefused):
    """`internal`: a bug in the broker; its log says more."""


_CLASSES: Dict[str, Type[BrokerRefused]] = {
    "bad_request": BadRequest,
    "unsupported_version": UnsupportedVersion,
    "unknown_op": UnknownOp,
    "forbidden": Forbidden,
    "unknown_pool": UnknownPool,
    "unknown_host": UnknownHost,
    "pool_exists": PoolExists,
    "empty_pool": EmptyPool,
    "conflict": Conflict,
    "mask_not_expressible": MaskNotExpressible,
    "farm_unavailable": FarmUnavailable,
    "store_unavailable": StoreUnavailable,
    "too_large": TooLarge,
    "rate_limited": RateLimited,
    "internal": InternalError,
}


def refusal(code: str, message: str, made: Optional[bool] = None) -> BrokerRefused:
    """The exception for an error answer: of the code's own class, or `BrokerRefused` for a code that only a newer
    library knows. Arguments as for `BrokerRefused`."""
    return _CLASSES.get(code, BrokerRefused)(code, message, made)
