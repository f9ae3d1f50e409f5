"""What is where in a folder of credentials."""

from __future__ import annotations

import pytest

from afpools_broker.protocol import Role
from afpools_tools.credentials.files import AuthorityError


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "../a", "anna smith", "ä", "a:b", "a" * 65, "anna\n"])
def test_a_name_that_is_not_a_file_name_is_refused(authority, name):
    for act in (lambda: authority.issue_profile(name, Role.READER), lambda: authority.issue_broker(name)):
        with pytest.raises(AuthorityError, match="is not a valid name"):
            act()
    for act in (authority.revoke, authority.renew):
        with pytest.raises(AuthorityError, match="is not a valid name"):
            act(name)


def test_a_broker_and_a_client_cannot_share_a_name(authority):
    with pytest.raises(AuthorityError, match="There is a broker 'broker' already"):
        authority.issue_profile("broker", Role.MANAGER)
