"""The structure, held: imports go down the list of rooms, each library has one room, the test set is protected."""

import ast
import functools
import graphlib

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "xtcav_ml"

ROOMS = {
    "system": "dask distributed dask_jobqueue",
    "config": "",
    "science": "scipy sklearn",
    "figures": "matplotlib",
    "data": "h5py",
    "lineage": "",
}
ROOMS |= {"learning": "keras tensorflow llvmlite", "tracking": "mlflow psutil orjson", "report": "jinja2"}
ROOMS |= {"pipeline": "", "tuning": "optuna", "notes2016": "", "tools": "uvicorn", "cli": "typer"}
"""Lowest first, with the libraries that no other room imports: a room imports from itself and from rooms before it."""

FORBIDDEN = {"pipeline": {"tracking", "report"}, "report": {"tracking", "learning"}}
"""Rooms before it that a room may not enter all the same: logging and the report can never cause retraining."""

NOT_SCIENCE = {"h5py", "os", "pathlib", "time", "datetime", "random", "subprocess", "socket", "io", "tempfile"}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("[!_]*/*.py"))
} | {path.stem: path for path in PACKAGE.glob("[!_]*.py")}


@functools.cache
def imported(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the modules of the package, and the outside top-level packages, that a module imports anywhere in it."""
    nodes = list(ast.walk(ast.parse(MODULES[name].read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {full.removeprefix("xtcav_ml.") for full in names if full.startswith("xtcav_ml.")}
    own = {full if full in MODULES else full.rpartition(".")[0] for full in inside}
    return frozenset(own), frozenset(full.partition(".")[0] for full in names)


def test_every_room_is_listed_and_there_is_no_circle():
    assert {name.partition(".")[0] for name in MODULES} == set(ROOMS)
    assert len(ROOMS) <= 18
    graphlib.TopologicalSorter({name: imported(name)[0] - {name} for name in MODULES}).prepare()


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_go_down(name):
    room = name.partition(".")[0]
    entered = {other.partition(".")[0] for other in imported(name)[0]}
    assert entered <= set(list(ROOMS)[: list(ROOMS).index(room) + 1]) - FORBIDDEN.get(room, set())


@pytest.mark.parametrize(("room", "library"), [(room, each) for room, text in ROOMS.items() for each in text.split()])
def test_each_library_has_its_room(room, library):
    assert {name.partition(".")[0] for name in MODULES if library in imported(name)[1]} == {room}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("science")])
def test_science_touches_no_file_and_no_clock(name):
    assert not imported(name)[1] & NOT_SCIENCE
    assert "np.random.seed" not in (text := MODULES[name].read_text())
    assert "open(" not in text


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=str)
def test_rooms_do_nothing_on_import(path):
    assert [type(each) for each in ast.parse(path.read_text()).body] == [ast.Expr]


def test_the_graph_protects_the_test_set():
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    assert [name for name, stage in stages.items() if "data/prepared/test.h5" in stage.get("deps", [])] == ["evaluate"]
    for name in ("pipeline.train", "tuning.tune", "tuning.trial", "learning.fit"):
        assert "test.h5" not in (text := MODULES[name].read_text())
        assert '"test"' not in text
