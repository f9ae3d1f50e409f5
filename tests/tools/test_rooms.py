"""The rooms of `tools/`: what imports what, read from the sources, and where the tests are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import afpools_tools

PACKAGE = Path(afpools_tools.__file__).parent
# The console script, which knows where each command is.
PROGRAM = "cli"

TESTS = Path(__file__).parents[1]
# A class without a body.
WITHOUT_TESTS = {"errors"}


def modules() -> dict[str, Path]:
    """Every module of the package by its name within it, `manager.api`; packages by theirs."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """All that a module imports, wherever in it, with its whole name: `rich.table`, `afpools_tools.commands.output`."""
    here = ["afpools_tools", *filter(None, name.split("."))]
    folder = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def place_of_tests(name: str) -> Path:
    """Where the tests of a module are: tests/ mirrors the packages, and the Pool Manager has a room of its own."""
    room = TESTS if is_below(name, "manager") else TESTS / "tools"
    *folders, module = name.split(".")
    return room.joinpath(*folders, f"test_{module}.py")


def test_whoever_opens_a_module_finds_its_tests_by_name() -> None:
    names = [name for name, path in modules().items() if path.name != "__init__.py" and name not in WITHOUT_TESTS]
    assert [name for name in names if not place_of_tests(name).exists()] == []


def test_no_library_knows_the_command_line() -> None:
    libraries = {name: path for name, path in modules().items() if not is_below(name, "commands", PROGRAM)}
    wrong = [
        f"{name} imports {imported}"
        for name, path in libraries.items()
        for imported in imports(name, path)
        if is_below(imported, "typer", "click", "rich", "afpools_tools.commands", f"afpools_tools.{PROGRAM}")
    ]
    assert len(libraries) > 20
    assert not wrong


def test_imports_are_found_wherever_they_are(tmp_path: Path) -> None:
    source = tmp_path / "live.py"
    source.write_text(
        "from ..commands import output\ndef work():\n    from rich.table import Table\n    import typer as t\n"
    )
    assert {"afpools_tools.commands.output", "rich.table", "typer"} <= set(imports("manager.live", source))
