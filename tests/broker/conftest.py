"""Fixtures of the broker's tests: the judge of masks, and services without sockets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests import oracle as judges
from tests.afserver import AfServer, afserver
from tests.desk import Desk, open_desk
from tests.live_office import live_manager, live_office
from tests.studio import Studio, studio
from tests.working_afserver import WorkingAfServer, working_afserver

from afpools import Client, Profile
from afpools_broker.protocol import Role


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[judges.Oracle]:
    """A program on libstdc++ that reads masks as afserver does. Skips the test if there is no g++, except on CI."""
    compiler = shutil.which("g++")
    if compiler is None:
        why = "There is no g++ to compile tests/oracle/oracle.cpp with."
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    # The workers of pytest-xdist each have a folder, in one folder for this session.
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with judges.Oracle(judges.build(compiler, folder)) as judge:
        yield judge


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes services, each with its own file; settings as for `open_desk`."""
    files = count()
    with ExitStack() as desks:

        def make(**settings: Any) -> Desk:
            return desks.enter_context(open_desk(tmp_path / f"{next(files)}.sqlite", **settings))

        yield make


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    """A service whose farm is `FARM`."""
    return make()


@pytest.fixture
def farm() -> Iterator[AfServer]:
    with afserver() as server:
        yield server


@pytest.fixture
def anna(tmp_path: Path, farm: AfServer) -> Iterator[Client]:
    settings = {"server": f"127.0.0.1:{farm.address[1]}", "interval": 0.05}
    with studio(tmp_path, farm=settings) as place, manager(place) as client:
        yield client


def manager(place: Studio) -> Client:
    return Client(Profile.load(str(place.profile("anna", Role.MANAGER))), timeout=30)


HOSTS = ("pc-01", "pc-02", "pc-03", "pc-04", "pc-05")


@pytest.fixture
def server() -> Iterator[WorkingAfServer]:
    with working_afserver(*HOSTS) as server:
        yield server


@pytest.fixture
def office(server: WorkingAfServer, tmp_path: Path) -> Iterator[Studio]:
    with live_office(tmp_path, server) as made:
        yield made


@pytest.fixture
def boss(office: Studio) -> Iterator[Client]:
    with live_manager(office, "boss", len(HOSTS), fx=["pc-01", "pc-03"], night=["pc-05"]) as client:
        yield client
