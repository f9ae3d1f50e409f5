"""What can go wrong in a call: one class for each code, with one base."""

from __future__ import annotations

import pytest
from tests.clients.conftest import StartBroker
from tests.clients.scripted_broker import Studio

import afpools
from afpools import AfpoolsError, BrokerRefused, BrokerUnreachable, Client, ProfileError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("bad_request", afpools.BadRequest),
        ("unsupported_version", afpools.UnsupportedVersion),
        ("unknown_op", afpools.UnknownOp),
        ("forbidden", afpools.Forbidden),
        ("unknown_pool", afpools.UnknownPool),
        ("pool_exists", afpools.PoolExists),
        ("empty_pool", afpools.EmptyPool),
        ("conflict", afpools.Conflict),
        ("mask_not_expressible", afpools.MaskNotExpressible),
        ("farm_unavailable", afpools.FarmUnavailable),
        ("store_unavailable", afpools.StoreUnavailable),
        ("too_large", afpools.TooLarge),
        ("rate_limited", afpools.RateLimited),
        ("internal", afpools.InternalError),
        ("of_a_newer_broker", BrokerRefused),
    ],
)
def test_each_error_code_has_its_class(
    studio: Studio, start: StartBroker, code: str, kind: type[BrokerRefused]
) -> None:
    broker = start(lambda talk, request: talk.refuse(request, code, "No, because."))
    with Client(studio.profile(broker.url)) as client, pytest.raises(BrokerRefused) as raised:
        client.hello()
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.message, str(raised.value)) == (code, "No, because.", "No, because.")


def test_all_errors_have_one_base() -> None:
    assert issubclass(ProfileError, AfpoolsError)
    assert issubclass(BrokerUnreachable, AfpoolsError)
    assert issubclass(BrokerRefused, AfpoolsError)
