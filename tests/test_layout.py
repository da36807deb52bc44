"""The rooms of the package, and that imports go one way."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clip4str_plugin"

# From the ground up: a room may import only from rooms before it. "" is what lies in the package's root, but for pages.
ROOMS = [
    "",
    "geometry",
    "page_content",
    "synthetic",
    "model",
    "io",
    "page",
    "reading",
    "data",
    "evaluation",
    "export",
    "training",
    "service",
    "cli",
]
# Resolves the public names, wherever they are; only the command line and adapters, above all of them, go through it.
DOOR = "clip4str_plugin"


def modules() -> dict[str, Path]:
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    paths |= {path: ("clip4str_adapters", path.stem) for path in (ROOT / "adapters").glob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in paths.items()}


MODULES = modules()


def imported_by_name(call: ast.Call) -> str:
    """What ``import_module("a.b")`` imports; of ``import_module(f"a.b.{c}")`` what is known, "a.b"; else ""."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function not in ("import_module", "import_host", "__import__") or not call.args:
        return ""
    first = call.args[0].values[0] if isinstance(call.args[0], ast.JoinedStr) else call.args[0]
    return str(first.value).rstrip(".") if isinstance(first, ast.Constant) else ""


def imports(name: str) -> set[str]:
    """The modules of this project that a module imports: at its top, in a function, for type checkers, or by name."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in MODULES else str(node.module) for each in whole}
        elif isinstance(node, ast.Call):
            found.add(imported_by_name(node))
    return {each for each in found if each in MODULES} - {name}


def room(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "clip4str_adapters":
        return "adapters"
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


GRAPH = {name: imports(name) for name in MODULES if name != DOOR}


def test_rooms_are_these():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders - {"weights"} == set(ROOMS) - {"", "page", "page_content"}


def test_imports_by_name_count():
    calls = ["import_module('clip4str_plugin.io')", "importlib.import_module(f'clip4str_plugin.io.{x}')", "load(name)"]
    found = [imported_by_name(ast.parse(call, mode="eval").body) for call in calls]
    assert found == ["clip4str_plugin.io", "clip4str_plugin.io", ""]


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_imports_go_one_way(name):
    assert DOOR not in GRAPH[name] or room(name) in ("adapters", "cli"), f"{name} imports {DOOR}"
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


def is_there(module: str, name: str) -> bool:
    """Whether a module of ours has what is imported from it; also where it needs a host that is not installed."""
    try:
        return f"{module}.{name}" in MODULES or hasattr(import_module(module), name)
    except ModuleNotFoundError as error:
        return not str(error.name).startswith("clip4str")


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_what_programs_import_exists(folder):
    """They are run too seldom to be found broken by chance."""
    imported = {
        (str(node.module), alias.name)
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("clip4str")
        for alias in node.names
    }
    assert imported
    assert [each for each in sorted(imported) if not is_there(*each)] == []
