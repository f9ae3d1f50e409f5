"""The client library and the real broker, over both of its ports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.studio import Studio, studio

import afpools
from afpools import BrokerUnreachable, Client, Profile
from afpools_broker.protocol import Role


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Studio]:
    with studio(tmp_path) as made:
        yield made


def profile(real: Studio, name: str, scheme: str, role: Role = Role.MANAGER) -> Profile:
    """Somebody's profile with the endpoints of one kind only."""
    loaded = Profile.load(str(real.profile(name, role)))
    return loaded._replace(endpoints=tuple(e for e in loaded.endpoints if e.scheme == scheme)[:1])


@pytest.mark.parametrize("scheme", ["tls", "curve"])
def test_every_call_is_understood(real: Studio, scheme: str) -> None:
    with Client(profile(real, "anna", scheme), timeout=10) as client:
        hello = client.hello()
        assert (hello.name, hello.role, hello.protocol) == ("anna", "manager", 1)
        assert client.health()["status"] in ("healthy", "degraded")
        assert client.register_hosts(["pc-[01-05]"]).hosts == 5
        created = client.create_pool("fx", ["pc-01", "pc-02"], "effects", "#ff0000")
        assert (created.pool, created.hosts, created.added) == ("fx", 2, ("pc-01", "pc-02"))
        client.add_hosts("fx", ["pc-03"])
        client.remove_hosts("fx", ["pc-02"])
        client.update_pool("fx", description="for effects")
        client.rename_pool("fx", "vfx")
        pool = client.get_pool("vfx")
        assert (pool.hosts, pool.description, pool.colour) == (("pc-01", "pc-03"), "for effects", "#ff0000")
        with pytest.raises(afpools.Conflict):
            client.add_hosts("vfx", ["pc-04"], if_revision=created.revision)
        pools = client.list_pools()
        assert [(p.name, p.hosts) for p in pools.pools] == [("vfx", 2)]
        assert client.list_pools(if_revision=pools.revision).unchanged
        assert [host.name for host in client.list_hosts().hosts] == [f"pc-0{n}" for n in range(1, 6)]
        mask = client.exclude_mask("vfx")
        assert (mask.pool, mask.pool_hosts, mask.excluded_hosts, mask.known_hosts) == ("vfx", 2, 3, 5)
        entries = client.history()
        assert [entry.op for entry in entries][:2] == ["pools.rename", "pools.update"]
        assert client.history(before=entries[0].id, limit=1)[0].id == entries[1].id
        client.delete_pool("vfx", if_revision=pool.revision)
        client.forget_hosts(["pc-[01-05]"])
        with pytest.raises(afpools.UnknownPool):
            client.exclude_mask("vfx")
        with pytest.raises(afpools.UnknownOp):
            client.request("pools.paint")
        with pytest.raises(afpools.BadRequest):
            client.create_pool("")


@pytest.mark.parametrize("scheme", ["tls", "curve"])
def test_a_change_sent_twice_is_made_once(real: Studio, scheme: str) -> None:
    with Client(profile(real, "anna", scheme), timeout=10) as client:
        first = client.create_pool("fx", ["pc-01"], request_id="once")
        assert client.create_pool("fx", ["pc-01"], request_id="once") == first


@pytest.mark.parametrize("scheme", ["tls", "curve"])
def test_a_reader_may_not_write(real: Studio, scheme: str) -> None:
    with Client(profile(real, "bob", scheme, Role.READER), timeout=10) as client, pytest.raises(afpools.Forbidden):
        client.create_pool("fx")


def test_a_revoked_certificate_is_given_as_the_reason(real: Studio, tmp_path: Path) -> None:
    shutil.copytree(real.profile("anna"), tmp_path / "workstation")
    copied = Profile.load(str(tmp_path / "workstation"))
    with Client(copied._replace(endpoints=copied.endpoints[:1]), timeout=10) as client:
        client.hello()
        real.authority.revoke("anna")
        real.broker.credentials.refresh()
        client.close()
        with pytest.raises(BrokerUnreachable, match="revoked"):
            client.hello()


def test_a_request_over_the_limit_is_refused_and_not_cut_off(tmp_path: Path) -> None:
    with studio(tmp_path, limits={"message_bytes": 4096}) as real:  # noqa: SIM117
        with Client(profile(real, "anna", "tls"), timeout=10) as client, pytest.raises(afpools.TooLarge):
            client.register_hosts(["x" * 1000] * 5)


def test_a_mask_is_joined_with_the_jobs_own_and_one_that_would_be_ignored_is_refused(real: Studio) -> None:
    with Client(profile(real, "anna", "tls"), timeout=10) as client:
        client.register_hosts(["pc-[01-05]"])
        client.create_pool("fx", ["pc-[01-03]"])
        mask = client.exclude_mask("fx", exclude="pc-02")
        assert (mask.pool_hosts, mask.excluded_hosts, mask.covers_future_hosts) == (2, 3, True)
        with pytest.raises(afpools.BadRequest, match="could not compile"):
            client.exclude_mask("fx", exclude="pc-0[", exclude_type="regex")
        with pytest.raises(afpools.EmptyPool, match="leaves none"):
            client.exclude_mask("fx", exclude="pc")
        with pytest.raises(afpools.BadRequest, match="exclude_type must be regex, find or either"):
            client.exclude_mask("fx", exclude="pc", exclude_type="glob")
        with pytest.raises(afpools.UnknownPool):
            client.exclude_mask("none", exclude="pc")
