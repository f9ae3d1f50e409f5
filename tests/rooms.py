"""Our packages, read from their sources: which modules there are, and what each imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

PACKAGES = {"afpools_broker": ROOT / "broker", "afpools": ROOT / "clients", "afpools_tools": ROOT / "tools"}
"""Each package, and the folder it is in."""


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its whole name, `afpools_tools.manager.api`; packages by theirs."""
    found = {}
    for path in sorted((PACKAGES[package] / package).rglob("*.py")):
        parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """Everything that a module imports, anywhere in it, by full name: `rich.table`, `afpools_tools.commands.output`."""
    here = name.split(".")
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
    """Whether a module is one of these packages, or in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)
