"""Where the plug-ins' files are."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Result

Afpools = Callable[..., Result]


ROOT = Path(__file__).parents[3]


@pytest.mark.heavy
def test_a_wheel_brings_the_plug_ins(afpools: Afpools, tmp_path: Path) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def pip(*arguments: object) -> None:
        command = [sys.executable, "-m", "pip", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = "import sys; from pathlib import Path; from afpools_tools.plugins.bundle import write_blender_zip; "
    script += "write_blender_zip(Path(sys.argv[1]), 'afanasy_pools'); print(sys.modules['afpools_tools'].__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "wheel.zip"],
        env={**environment, "PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(str(tmp_path / "installed")), done.stderr
    afpools("bundle", "blender", "-o", tmp_path / "repository.zip")
    assert (tmp_path / "wheel.zip").read_bytes() == (tmp_path / "repository.zip").read_bytes()
