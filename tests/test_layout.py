"""The rooms of the package, and that imports go one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clip4str_plugin"

# From the ground up: a room may import only from rooms before it. "" is what lies in the package's root, but for pages.
ROOMS = [
    "",
    "geometry",
    "page",
    "synthetic",
    "model",
    "io",
    "reading",
    "data",
    "evaluation",
    "export",
    "training",
    "service",
    "cli",
]
# Resolves the public names, wherever they are.
DOOR = "clip4str_plugin"


def modules() -> dict[str, Path]:
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    paths |= {path: ("clip4str_adapters", path.stem) for path in (ROOT / "adapters").glob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in paths.items()}


MODULES = modules()


def imports(name: str) -> set[str]:
    """The modules of this project that a module imports, at its top or in a function, for type checkers or not."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in MODULES else str(node.module) for each in whole}
    return {each for each in found if each in MODULES} - {name}


def room(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "clip4str_adapters":
        return "adapters"
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


GRAPH = {name: imports(name) for name in MODULES if name != DOOR}


def test_rooms_are_these():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders - {"weights"} == set(ROOMS) - {"", "page"}


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_imports_go_one_way(name):
    for other in GRAPH[name]:
        if room(name) == "adapters":
            assert room(other) not in ("cli", "service"), f"{name} imports {other}"
        else:
            assert room(other) in ROOMS[: ROOMS.index(room(name)) + 1], f"{name} imports {other}"


def test_adapters_import_no_other_host():
    for name in GRAPH:
        if name.startswith("clip4str_adapters."):
            host = name.split(".")[1].split("_")[0]
            others = {o for o in GRAPH[name] if room(o) == "adapters" and not o.split(".")[-1].startswith(("_", host))}
            assert others - {"clip4str_adapters"} == set() or host in ("onnxtr", "doctr"), f"{name} imports {others}"


def test_no_circles():
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(GRAPH.get(name, ())):
                visit(other, (*way, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())
