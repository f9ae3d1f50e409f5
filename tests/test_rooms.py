"""The packages of broker, client library and tools: what imports what, what each contains, and where its tests are."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from tests.rooms import PACKAGES, ROOT, imports, is_below, modules

# What a package of the broker must not import; `broker` is the one place that assembles everything.
STRANGERS = {
    "protocol": "config credentials farm listeners live masks monitoring operations picture pools service store",
    "pools": "broker credentials listeners live masks monitoring operations service store",
    "masks": "broker credentials listeners live monitoring operations picture pools service store",
    "store": "broker credentials farm listeners live masks monitoring operations picture service",
    "farm": "broker credentials listeners live masks monitoring operations service",
    "picture": "broker credentials listeners live monitoring operations service",
    "live": "broker credentials listeners monitoring operations service",
    "credentials": "broker farm listeners live masks monitoring operations picture pools service store",
    "operations": "broker listeners service",
    "service": "broker listeners masks",
    "listeners": "broker farm live masks picture pools store",
}

COMMANDS = "afpools_tools.commands"
# The console script, which knows where each command is.
PROGRAM = "afpools_tools.cli"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_contains(package: str) -> None:
    """A package's docstring says what each of its modules is for. A command's module has its name."""
    silent = []
    for name, path in modules(package).items():
        if path.name != "__init__.py" or name == COMMANDS:
            continue
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        files = [file for file in path.parent.glob("*.py") if file.name != "__init__.py"]
        rooms = [f"{room.parent.name}/" for room in path.parent.glob("*/__init__.py")]
        entries = [*(file.name for file in files), *rooms]
        silent += [f"{name}: {entry}" for entry in entries if f"\n{entry} " not in said]
    assert not silent


@pytest.mark.parametrize("room", STRANGERS)
def test_a_room_of_the_broker_knows_no_more_than_it_needs(room: str) -> None:
    inside = {
        name: path for name, path in modules("afpools_broker").items() if is_below(name, f"afpools_broker.{room}")
    }
    strangers = [f"afpools_broker.{stranger}" for stranger in STRANGERS[room].split()]
    assert set(strangers) <= set(modules("afpools_broker"))
    wrong = [
        f"{name} imports {imported}"
        for name, path in inside.items()
        for imported in imports(name, path)
        if is_below(imported, *strangers)
    ]
    assert inside
    assert not wrong


def test_packages_without_sockets_import_none() -> None:
    rooms = [f"afpools_broker.{room}" for room in ("pools", "masks", "picture", "operations", "service", "protocol")]
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules("afpools_broker").items()
        if is_below(name, *rooms)
        for imported in imports(name, path)
        if is_below(imported, "socket", "ssl", "selectors", "zmq")
    ]
    assert not wrong


def test_the_client_library_needs_only_the_standard_library() -> None:
    wrong = {
        (name, imported.partition(".")[0])
        for name, path in modules("afpools").items()
        for imported in imports(name, path)
        if imported.partition(".")[0] not in {"afpools", *sys.stdlib_module_names}
    }
    # Only for a profile that has CURVE alone.
    assert wrong == {("afpools.transport", "zmq")}


def test_the_broker_does_not_know_the_tools() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules("afpools_broker").items()
        for imported in imports(name, path)
        if is_below(imported, "afpools_tools")
    ]
    assert not wrong


def test_libraries_do_not_know_the_command_line() -> None:
    libraries = {name: path for name, path in modules("afpools_tools").items() if not is_below(name, COMMANDS, PROGRAM)}
    wrong = [
        f"{name} imports {imported}"
        for name, path in libraries.items()
        for imported in imports(name, path)
        if is_below(imported, "typer", "click", "rich", COMMANDS, PROGRAM)
    ]
    assert len(libraries) > 20
    assert not wrong


def test_imports_are_found_wherever_they_are(tmp_path: Path) -> None:
    source = tmp_path / "live.py"
    source.write_text(
        "from ..commands import output\ndef work():\n    from rich.table import Table\n    import typer as t\n"
    )
    assert {"afpools_tools.commands.output", "rich.table", "typer"} <= set(
        imports("afpools_tools.manager.live", source)
    )


# Modules in which there is nothing to test except through their users.
WITHOUT_TESTS = {
    "afpools_tools.errors",  # a class without a body
    "afpools_broker.credentials.peers",  # values
}


def place_of_tests(name: str) -> Path:
    """Where the tests of a module are: tests/ mirrors the packages, and the Pool Manager has a folder of its own."""
    package, *folders, module = name.split(".")
    room = ROOT / "tests" / {"afpools": "clients"}.get(package, package.removeprefix("afpools_"))
    if folders[:1] == ["manager"]:
        room = room.parent
    return room.joinpath(*folders, f"test_{module}.py")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_modules_tests_can_be_found_by_its_name(package: str) -> None:
    names = [
        name for name, path in modules(package).items() if path.name != "__init__.py" and name not in WITHOUT_TESTS
    ]
    assert [name for name in names if not place_of_tests(name).exists()] == []


MODULE_LINES = 600
FUNCTION_LINES = 60


def test_no_module_and_no_function_is_longer_than_one_can_keep_in_mind() -> None:
    long = []
    for folder in ("broker", "clients", "tools", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            # Of CGRU, not ours.
            if "cgru" in path.parts:
                continue
            text = path.read_text(encoding="utf-8")
            if text.count("\n") >= MODULE_LINES:
                long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    if lines > FUNCTION_LINES:
                        long.append(f"{path.relative_to(ROOT)}: {node.name}, {lines} lines")
    assert not long
