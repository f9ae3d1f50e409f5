"""A repository of extensions as Blender itself reads it: its own program makes the same index, installs and updates."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from afpools_tools.plugins import bundle, catalogue
from afpools_tools.plugins.bundle import write_blender_repository
from afpools_tools.plugins.sources import plugin_sources


class Extensions:
    """Blender's own program for extensions, without a Blender around it."""

    def __init__(self, python: Path, local: Path) -> None:
        (self._program,) = python.parents[1].glob(
            "lib/python*/site-packages/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"
        )
        self._python = python
        self._version = f"{self._program.parents[4].name}.0"
        self._local = local
        local.mkdir()

    def __call__(self, *arguments: object) -> str:
        command = [self._python, self._program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, url: str) -> str:
        """Asks the repository for updates, installs our add-on from it, and returns the installed version."""
        repository = ("--remote-url", url, "--local-dir", self._local)
        self("sync", *repository, "--remote-name", "studio", "--online-user-agent", "test")
        said = self(
            "install", *repository, "--local-cache", 1, "--blender-version", self._version, "--online-user-agent",
            "test", "--temp-prefix-and-suffix", ".temp/", "--python-version", "3.11.0", "afanasy_pools",
        )  # fmt: skip
        assert "rror" not in said, said
        assert (self._local / "afanasy_pools" / "afpools" / "client.py").is_file()
        manifest = (self._local / "afanasy_pools" / "blender_manifest.toml").read_text()
        return next(line for line in manifest.splitlines() if line.startswith("version = ")).split('"')[1]


@pytest.fixture
def extensions(python: Path, tmp_path: Path) -> Extensions:
    return Extensions(python, tmp_path / "extensions")


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Any web server with static files."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/index.json"
        finally:
            server.shutdown()


def release(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of the add-on."""
    sources = folder / version
    shutil.copytree(plugin_sources("blender"), sources)
    manifest = sources / "blender_manifest.toml"
    manifest.write_text(manifest.read_text().replace('version = "0.1.0"', f'version = "{version}"'))
    for module in (bundle, catalogue):
        monkeypatch.setattr(module, "plugin_sources", lambda name: sources)


def test_blenders_own_program_makes_the_same_index(extensions: Extensions, tmp_path: Path) -> None:
    index = write_blender_repository(tmp_path / "web" / "blender")
    ours = json.loads(index.read_text())
    extensions("server-generate", "--repo-dir", index.parent)
    assert json.loads(index.read_text()) == ours


@pytest.mark.parametrize("served", ["by a web server", "from a share"])
def test_blender_installs_from_it_and_then_updates(
    extensions: Extensions, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write_blender_repository(tmp_path / "web")
    with web_server(index.parent) as url:
        address = url if served == "by a web server" else index.as_uri()
        first = extensions.install(address)
        release("9.9.9", tmp_path, monkeypatch)
        write_blender_repository(tmp_path / "web")
        assert (first, extensions.install(address)) == ("0.1.0", "9.9.9")
    # A Blender that has read the earlier index still gets the version listed there.
    assert len(list(index.parent.glob("*.zip"))) == 2
