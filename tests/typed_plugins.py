"""mypy --strict for what runs inside host applications: `python -m tests.typed_plugins`, which `make lint` does.

Strategy: each plug-in is laid out as it is installed, since Blender's add-on has the library inside it and Fusion's
script has a name that Python cannot import. What host applications bring is described in tests/stubs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLIENTS = ROOT / "clients"


def lay_out(folder: Path) -> list[str]:
    """Puts links to all plug-ins into a folder; returns what mypy has to check."""
    (folder / "blender").mkdir()
    for file in (CLIENTS / "blender").glob("*.py"):
        (folder / "blender" / file.name).symlink_to(file)
    (folder / "blender" / "afpools").symlink_to(CLIENTS / "afpools")
    for plugin in ("afstarter", "natron", "nuke", "maya", "houdini/scripts/python"):
        for file in (CLIENTS / plugin).glob("*.py"):
            # Natron's and Nuke's are alike, and only start what is in the others.
            if file.name != "init.py":
                (folder / file.name).symlink_to(file)
    (folder / "sitecustomize.py").symlink_to(CLIENTS / "hook" / "sitecustomize.py")
    (folder / "afpools_hook").mkdir()
    (folder / "afpools_hook" / "__init__.py").symlink_to(CLIENTS / "hook" / "afpools_hook" / "__init__.py")
    (folder / "afpools_hook" / "afpools").symlink_to(CLIENTS / "afpools")
    (folder / "afanasy_in_fusion.py").symlink_to(CLIENTS / "fusion" / "Comp" / "Afanasy (pools).py")
    modules = ["blender", "afjob_pools", "afstarter_pools", "afanasy_in_fusion", "afanasy_pools", "initGui"]
    modules += ["sitecustomize", "afpools_hook", "afpools_nuke", "afpools_nuke_chooser"]
    modules += ["afpools_maya", "afpools_maya_chooser", "afpools_houdini", "afpools_houdini_chooser"]
    return [argument for module in modules for argument in ("-p", module)]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        wanted = lay_out(Path(folder))
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *wanted],
            env={**os.environ, "MYPYPATH": folder},
            cwd=ROOT,
            check=False,
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
