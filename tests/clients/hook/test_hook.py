"""The hook in programs of CGRU: jobs that know nothing of pools get theirs, or are not sent."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from .conftest import FX, Office, not_sent, old_python, pool_of

pytestmark = pytest.mark.heavy


def test_a_job_of_afjob_gets_the_pool_that_the_environment_names(office: Office) -> None:
    office.variables["AFPOOLS_POOL"] = "fx"
    done = office.afjob("-name", "shot")
    assert (done.returncode, done.stderr) == (0, "")
    assert (pool_of(office.job), office.job["hosts_mask_exclude"]) == ("fx", FX)


def test_a_job_without_a_pool_is_sent_as_it_is_and_nobody_is_asked(office: Office) -> None:
    office.broker_away()
    assert office.afjob("-hostsexcl", "pc-05").returncode == 0
    assert office.job["hosts_mask_exclude"] == "pc-05"
    assert not {"hosts_mask_type", "custom_data"} & office.job.keys()


def test_the_studios_default_applies_if_no_pool_is_named(office: Office) -> None:
    office.say(pool="fx")
    assert office.afjob().returncode == 0
    assert pool_of(office.job) == "fx"


def test_the_environment_overrides_the_studios_default(office: Office) -> None:
    office.say(pool="fx", required=True)
    office.variables["AFPOOLS_POOL"] = "gpu"
    assert office.afjob().returncode == 0
    assert pool_of(office.job) == "gpu"


def test_a_job_may_be_sent_without_the_default_unless_a_pool_is_required(office: Office) -> None:
    office.say(pool="fx")
    office.variables["AFPOOLS_POOL"] = "-"
    assert office.afjob().returncode == 0
    assert pool_of(office.job) is None
    office.say(pool="fx", required=True)
    assert "This studio requires a pool for every job" in not_sent(office.afjob())
    assert len(office.farm.jobs) == 1


def test_if_a_pool_is_required_and_none_is_named_nothing_is_sent(office: Office) -> None:
    office.say(required=True)
    assert "AFPOOLS_POOL" in not_sent(office.afjob())
    assert office.farm.jobs == []


def test_the_jobs_own_mask_is_joined_with_the_pools(office: Office) -> None:
    office.variables["AFPOOLS_POOL"] = "fx"
    assert office.afjob("-hostsexcl", "pc-01").returncode == 0
    assert office.job["hosts_mask_exclude"] == "(?:pc-01).*|(?:(?!pc-0[13]$).*)"
    assert json.loads(office.job["custom_data"])["afpools"]["exclude"] == "pc-01"


@pytest.mark.parametrize("pool", ["fx", "night"])
def test_a_job_that_cannot_be_kept_on_its_pool_is_not_sent_and_one_sentence_says_why(office: Office, pool: str) -> None:
    office.variables["AFPOOLS_POOL"] = pool
    if pool == "fx":
        office.broker_away()
    assert f"it cannot be kept on the pool {pool!r}" in not_sent(office.afjob())
    assert office.farm.jobs == []


def test_without_any_profile_there_is_no_default_and_a_named_pool_is_refused(office: Office) -> None:
    shutil.rmtree(office.profile)
    assert office.afjob().returncode == 0
    assert pool_of(office.job) is None
    office.variables["AFPOOLS_POOL"] = "fx"
    assert "No profile was found" in office.afjob().stderr
    assert len(office.farm.jobs) == 1


def test_a_profile_that_cannot_be_read_may_be_the_one_that_requires_a_pool(office: Office) -> None:
    (office.profile / "profile.json").write_text("{")
    assert "is not JSON" in not_sent(office.afjob())
    assert office.farm.jobs == []


def test_missing_credentials_do_not_matter_to_a_job_without_a_pool(office: Office) -> None:
    (office.profile / "client.pem").unlink()
    assert office.afjob().returncode == 0


SEND = """
import af, json
job = af.Job("own")
job.data["custom_data"] = json.dumps({said})
block = af.Block("b", "generic")
block.setCommand("true")
block.setNumeric(1, 1)
job.blocks.append(block)
{before}
job.send()
"""


def send(office: Office, said: object, before: str = "") -> str:
    return office.python("-c", SEND.format(said=repr(said), before=before)).stderr


def test_the_jobs_own_wish_overrides_everything(office: Office) -> None:
    office.say(pool="fx")
    office.variables["AFPOOLS_POOL"] = "fx"
    assert send(office, {"afpools": {"pool": "gpu"}, "shot": 7}) == ""
    assert pool_of(office.job) == "gpu"
    assert json.loads(office.job["custom_data"])["shot"] == 7


def test_a_job_may_ask_for_no_pool(office: Office) -> None:
    office.say(pool="fx")
    assert send(office, {"afpools": {"pool": "-"}}) == ""
    assert (office.job.get("custom_data"), "hosts_mask_exclude" in office.job) == ("", False)


def test_a_maintenance_job_goes_to_the_machines_that_it_names(office: Office) -> None:
    office.say(pool="fx", required=True)
    assert send(office, {}, 'job.data["maintenance"] = True') == ""
    assert "hosts_mask_exclude" not in office.job


def test_a_job_that_was_read_back_from_the_farm_keeps_what_it_excluded_itself(office: Office) -> None:
    office.variables["AFPOOLS_POOL"] = "fx"
    office.afjob("-hostsexcl", "pc-01")
    again = {key: office.job[key] for key in ("hosts_mask_exclude", "hosts_mask_type", "custom_data")}
    office.variables["AFPOOLS_POOL"] = "gpu"
    assert send(office, {}, f"job.data.update({again!r})") == ""
    assert {key: office.farm.jobs[1][key] for key in again} == again


def test_a_job_fenced_by_a_chooser_is_left_alone_by_the_hook(office: Office) -> None:
    """AfStarter's program with its chooser's pool, running under the hook."""
    office.say(pool="gpu")
    office.variables.update(AFPOOLS_POOL="fx")
    ours = Path(__file__).parents[3] / "clients/afstarter/afjob_pools.py"
    scene = office.home / "shot.nk"
    scene.touch()
    done = office.python(ours, scene, 1, 10)
    assert (done.returncode, done.stderr) == (0, "")
    assert pool_of(office.job) == "fx"


# --- programs that send nothing, and other people's sitecustomize -----------------------------------------------------

LOADED = "import sys; print(sorted(name for name in sys.modules if 'afpools' in name), 'json' in sys.modules)"


def test_a_program_that_never_imports_af_imports_nothing_of_ours(office: Office) -> None:
    assert office.python("-S", "-c", LOADED).stdout == "[] False\n"
    assert office.python("-c", LOADED).stdout == "[] False\n"
    assert "'afpools_hook.afpools.job'" in office.python("-c", "import af; " + LOADED).stdout


def test_the_library_does_not_leak_into_the_program(office: Office) -> None:
    done = office.python(
        "-c", "import af, sys; print('afpools' in sys.modules, sys.path.count(sys.argv[1]))", office.hook
    )
    assert done.stdout == "False 1\n"


@pytest.mark.parametrize("count", [1, 2])
def test_existing_sitecustomizes_are_run_in_any_order(office: Office, tmp_path: Path, count: int) -> None:
    others = [tmp_path / f"other{number}" for number in range(count)]
    for number, other in enumerate(others):
        other.mkdir()
        chain = "import sys; sys.path.remove(%r); del sys.modules['sitecustomize']; import sitecustomize\n"
        rest = chain % str(other) if number + 1 < count else ""
        (other / "sitecustomize.py").write_text(f"print('other {number}', __name__)\n{rest}")
    office.variables["AFPOOLS_POOL"] = "fx"
    office.variables["PYTHONPATH"] = os.pathsep.join([office.env["PYTHONPATH"], *map(str, others)])
    done = office.afjob()
    assert done.stdout.startswith("".join(f"other {number} sitecustomize\n" for number in range(count)))
    assert pool_of(office.job) == "fx"


def test_a_sitecustomize_that_fails_is_reported_by_python_and_jobs_get_their_pool(
    office: Office, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('theirs')\n")
    office.variables["AFPOOLS_POOL"] = "fx"
    office.variables["PYTHONPATH"] = os.pathsep.join([office.env["PYTHONPATH"], str(tmp_path)])
    assert "RuntimeError: theirs" in office.afjob().stderr
    assert pool_of(office.job) == "fx"


def test_two_copies_of_the_hook_act_as_one(office: Office, tmp_path: Path) -> None:
    shutil.copytree(office.hook, tmp_path / "copy")
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "sitecustomize.py").write_text("print('last')\n")
    path = [office.env["PYTHONPATH"], str(tmp_path / "copy"), str(tmp_path / "last")]
    office.variables.update(AFPOOLS_POOL="fx", PYTHONPATH=os.pathsep.join(path))
    done = office.afjob()
    assert (done.stdout.count("last\n"), done.stderr) == (1, "")
    assert pool_of(office.job) == "fx"


def test_an_exception_of_the_program_looks_as_usual(office: Office) -> None:
    done = office.python("-c", "import af; raise ValueError('own')")
    assert done.stderr.startswith("Traceback")
    assert "ValueError: own" in done.stderr


def test_af_is_hooked_again_when_it_is_reloaded(office: Office) -> None:
    office.variables["AFPOOLS_POOL"] = "fx"
    reloaded = SEND.replace("import af, json", "import af, importlib, json; importlib.reload(af)")
    assert office.python("-c", reloaded.format(said="{}", before="")).stderr == ""
    assert pool_of(office.job) == "fx"


# --- where the library cannot be used ---------------------------------------------------------------------------------


AF_27 = """
import json, os, socket
class Job(object):
    def __init__(self):
        self.data = {"name": "old"}
    def send(self):
        body = json.dumps({"job": self.data}).encode()
        server = socket.create_connection(("127.0.0.1", int(os.environ["CGRU_AF_SERVERPORT"])))
        server.sendall(("AFANASY %d JSON" % len(body)).encode() + body)
        server.recv(65536)
"""
AFJOB_27 = "import af\naf.Job().send()\n"


@pytest.fixture(params=["2.7", "3.6", "damaged"])
def helpless(request: pytest.FixtureRequest, stock_office: Office) -> tuple[Office, Path]:
    """CGRU's own scripts still know Python 2.7, although its main module cannot run there."""
    if request.param == "2.7":
        (stock_office.cgru / "afanasy").unlink()
        (stock_office.cgru / "afanasy/python").mkdir(parents=True)
        (stock_office.cgru / "afanasy/python/af.py").write_text(AF_27)
        (stock_office.cgru / "afanasy/python/afjob.py").write_text(AFJOB_27)
    if request.param == "damaged":
        (stock_office.hook / "afpools_hook/afpools/job.py").write_text("syntax error")
        return stock_office, Path(sys.executable)
    return stock_office, old_python(request.param)


def afjob_with(python: Path, office: Office) -> tuple[int, str]:
    scene = office.home / "shot.nk"
    scene.touch()
    done = office.run(python, office.cgru / "afanasy/python/afjob.py", scene, 1, 10)
    return done.returncode, done.stderr


def test_jobs_that_need_no_pool_are_sent_from_a_python_without_the_library(helpless: tuple[Office, Path]) -> None:
    office, python = helpless
    assert afjob_with(python, office) == (0, "")
    office.variables["AFPOOLS_POOL"] = "-"
    office.say(pool="fx")
    assert afjob_with(python, office) == (0, "")
    shutil.rmtree(office.profile)
    del office.variables["AFPOOLS_POOL"]
    assert afjob_with(python, office) == (0, "")
    assert len(office.farm.jobs) == 3


@pytest.mark.parametrize("need", ["environment", "default", "required", "unreadable"])
def test_jobs_that_may_need_a_pool_are_not_sent_from_a_python_without_the_library(
    helpless: tuple[Office, Path], need: str
) -> None:
    office, python = helpless
    if need == "environment":
        office.variables["AFPOOLS_POOL"] = "fx"
    elif need == "default":
        office.say(pool="fx")
    elif need == "required":
        office.say(required=True)
        office.variables["AFPOOLS_POOL"] = "-"
    else:
        (office.profile / "profile.json").write_text("{")
    status, said = afjob_with(python, office)
    assert (status, office.farm.jobs) == (1, [])
    (line,) = said.splitlines()
    assert line.startswith("Afanasy Pools: The job was not sent: ")


def test_an_existing_sitecustomize_is_run_by_python_2(stock_office: Office, tmp_path: Path) -> None:
    python = old_python("2.7")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.stdout.write('theirs %s\\n' % __name__)\n")
    stock_office.variables["PYTHONPATH"] = os.pathsep.join([stock_office.env["PYTHONPATH"], str(tmp_path)])
    assert stock_office.run(python, "-c", "pass").stdout == "theirs sitecustomize\n"
