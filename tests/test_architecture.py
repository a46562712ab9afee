"""The structure, held: imports go down the list of rooms, each library has one room, the test set is protected."""

import ast
import functools
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "xtcav_ml"

ROOMS = ["system", "config", "science", "figures", "data", "lineage", "learning", "tracking", "report", "pipeline"]
ROOMS += ["tuning", "notes2016", "tools", "cli"]
"""Lowest first: a room imports from rooms before it, and from itself without a circle."""

OWNERS = {
    "h5py": {"data"},
    "keras": {"learning"},
    "tensorflow": {"learning"},
    "numba": {"learning"},
    "mlflow": {"tracking"},
    "matplotlib": {"figures"},
    "jinja2": {"report"},
    "scipy": {"science"},
    "sklearn": {"science"},
    "optuna": {"tuning"},
    "psutil": {"tracking"},
    "typer": {"cli"},
}
FORBIDDEN = {"pipeline": {"tracking", "report"}, "report": {"tracking", "learning"}}
"""Rooms before it that a room may not enter all the same: logging and the report can never cause retraining."""

NOT_SCIENCE = {"h5py", "os", "pathlib", "time", "datetime", "random", "subprocess", "socket", "io", "tempfile"}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@functools.cache
def imported(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the modules of the package, and the outside top-level packages, that a module imports anywhere in it."""
    own, outside = set(), set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{name}: relative import"
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in names:
            top, _, rest = full.partition(".")
            if top == "xtcav_ml":
                own.add(rest if rest in MODULES else rest.rpartition(".")[0])
            else:
                outside.add(top)
    return frozenset(own), frozenset(outside)


def test_every_room_is_listed():
    assert {name.partition(".")[0] for name in MODULES if name != "__init__"} == set(ROOMS)
    assert len(ROOMS) <= 18


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__"])
def test_imports_only_go_down(name):
    room = name.partition(".")[0]
    entered = {other.partition(".")[0] for other in imported(name)[0]}
    assert entered <= set(ROOMS[: ROOMS.index(room) + 1]) - FORBIDDEN.get(room, set())
    reached, waiting = set(), list(imported(name)[0])
    while waiting:
        module = waiting.pop()
        assert module != name, f"{name} imports itself in a circle"
        if module not in reached:
            reached.add(module)
            waiting.extend(imported(module)[0])


@pytest.mark.parametrize(("library", "rooms"), OWNERS.items())
def test_each_library_has_its_room(library, rooms):
    assert {name.partition(".")[0] for name in MODULES if library in imported(name)[1]} == rooms


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("science")])
def test_science_touches_no_file_and_no_clock(name):
    assert not imported(name)[1] & NOT_SCIENCE
    assert "np.random.seed" not in MODULES[name].read_text()
    assert "open(" not in MODULES[name].read_text()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=str)
def test_rooms_do_nothing_on_import(path: Path):
    (only,) = ast.parse(path.read_text()).body
    assert isinstance(only, ast.Expr)


def test_the_graph_protects_the_test_set():
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    assert [name for name, stage in stages.items() if "data/prepared/test.h5" in stage.get("deps", [])] == ["evaluate"]
    for name in ("pipeline.train", "tuning.tune", "tuning.trial", "learning.fit"):
        assert "test.h5" not in MODULES[name].read_text()
        assert '"test"' not in MODULES[name].read_text()
