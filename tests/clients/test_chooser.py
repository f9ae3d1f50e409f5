"""What the choosers on nodes have in common. What they do with a job is tested in choosers/, with CGRU's scripts."""

from __future__ import annotations

import time

import pytest

from afpools import AfpoolsError
from afpools.chooser import about, refuse_other_pools
from afpools.pool_menu import Menu
from afpools.results import PoolSummary


def test_beside_a_chooser_stand_the_machines_with_the_time_and_what_is_wrong() -> None:
    pools = (PoolSummary("fx", 2, "1", "", "", 2, 1), PoolSummary("night", 1, "1", "", "", 0, 0))
    menu = Menu(pools, time.time(), notice="The certificate expires soon.")
    assert about(menu, "") == "The certificate expires soon."
    assert about(menu, "fx").startswith("fx, 1 of 2 online (20")
    machines, warning, notice = about(menu, "night").splitlines()
    assert machines.startswith("night, no machine on the farm (20")
    assert ("the job will wait" in warning, notice) == (True, "The certificate expires soon.")


@pytest.mark.parametrize(
    ("chosen", "said", "refused"),
    [
        ("fx", "fx", False),
        ("fx", "", False),
        ("-", "-", False),
        ("fx", "gpu", True),
        ("fx", "-", True),
        ("", "fx", True),
    ],
)
def test_the_nodes_of_one_job_have_one_pool(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, chosen: str, said: str, refused: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for variable in ("AFPOOLS_PROFILE", "AFPOOLS_POOL", "CGRU_LOCATION", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    if not refused:
        refuse_other_pools("top", chosen, [("one", said)])
        return
    with pytest.raises(AfpoolsError, match=r"'one' is on .* that of 'top'"):
        refuse_other_pools("top", chosen, [("one", said)])
