"""The structure, held: imports only go down, one owner for each outside library, and dvc.yaml knows what stages import."""

import ast
import functools
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "xtcav_ml"

LAYERS = [
    [
        "errors",
        "shots",
        "atomic",
        "progress",
        "processes",
        "interrupts",
        "compiled",
        "services",
        "address",
        "known",
    ],
    ["registry.manifest"],
    ["params.base", "tracking.journal", "git"],
    ["params.peaks", "params.data", "params.prepare", "params.train", "params.tune"],
    ["params.simulate"],
    ["params.whole", "params.experiment"],
    # science: numpy in, numpy out; no file, no clock, no global random state
    ["beam", "camera", "digitizer", "labels", "images", "selection", "metrics", "pooling", "signals"],
    ["physics", "meaning", "comparison"],
    ["geometry", "augment"],
    # one outside library each
    [
        "h5io.files",
        "plots",
        "store",
        "lineage",
        "backend",
        "search_table",
        "studies",
        "checkpoint",
        "postgres",
    ],
    ["h5io.rawfile", "h5io.prepared", "models", "optimizers", "resources", "registry.packaging", "locks"],
    ["registry.versions"],
    ["tracking.projection"],
    ["tracking.sender"],
    ["tracking.tracker"],
    ["tracking.provenance"],
    ["tracking.runs", "reproduction.original"],
    # built on those
    [
        "raw",
        "batches",
        "tracking.recording",
        "predictor",
        "saliency",
        "objective",
        "scaling",
        "first_layer",
        "predictions",
    ],
    ["reproduction.restored", "reproduction.sameness"],
    ["fit", "served"],
    ["trial"],
    ["report.markup", "report.wording", "report.results"],
    ["report.charts", "report.pictures"],
    ["report.data", "report.earlier", "report.frames", "report.origin", "report.quality", "report.training"],
    [
        f"stages.{name}"
        for name in (
            "simulate",
            "check",
            "prepare",
            "train",
            "evaluate",
            "tune",
            "promote",
            "summary",
            "scan",
            "relabel",
            "show",
            "predict",
            "describe",
            "compare",
            "server",
            "report",
            "configurations",
            "notes",
            "record",
            "runs",
            "reproduce",
            "sync",
        )
    ],
    ["stages.experiment", "stages.experiment_data", "stages.promote_model"],  # they are made of stages
    ["commands.places"],
    [f"commands.{name}" for name in ("pipeline", "shots", "results", "search", "tracking")],
    ["cli"],
]
"""Lowest first. A module imports from layers below its own, never from its own."""

OWNERS = {
    "h5py": {"h5io.files", "h5io.rawfile", "h5io.prepared"},
    "keras": {"backend"},
    "tensorflow": {"backend", "first_layer"},
    "numba": {"compiled"},
    "mlflow": {"store", "tracking.projection", "registry.packaging", "registry.versions"},
    "matplotlib": {"plots"},
    "optuna": {"studies"},
    "psutil": {"resources"},
    "pynvml": {"resources"},
    "typer": {"cli", *(f"commands.{name}" for name in ("shots", "results", "search", "tracking"))},
    "pandas": {"served"},
    "psycopg": {"postgres"},
    "PIL": {"report.pictures"},
}

PROGRAMS = {
    "dvc.yaml": {"validate": "check"},
    "data/raw/dvc.yaml": {},
    "experiments/dvc.yaml": {
        "signal": "experiment_data",
        "shots": "experiment_data",
        "train": "experiment",
        "long": "experiment",
        "measure": "configurations",
    },
}
"""DVC's files, and in each the stages whose program has not their name."""

SCIENCE = {"beam", "camera", "digitizer", "labels", "images", "selection", "metrics", "comparison", "pooling"}
SCIENCE |= {"geometry", "signals", "meaning", "physics", "augment"}
NOT_SCIENCE = {"h5py", "os", "pathlib", "time", "datetime", "random", "subprocess", "socket", "io", "tempfile"}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py"
    }


@functools.cache
def imported(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the modules of the package, and the outside top-level packages, that a module imports anywhere in it."""
    own, outside = set(), set()
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{name}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in names:
            top, _, rest = full.partition(".")
            if top != "xtcav_ml":
                outside.add(top)
            else:
                own.add(rest if rest in modules() else rest.rpartition(".")[0])
    return frozenset(own), frozenset(outside)


def reached(name: str) -> set[str]:
    """Return a module and all that it imports, directly or not."""
    found, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(imported(module)[0])
    return found


def test_every_module_has_a_layer():
    named = [name for layer in LAYERS for name in layer]
    assert sorted(named) == sorted(modules())


@pytest.mark.parametrize("name", modules())
def test_imports_only_go_down(name):
    height = {module: i for i, layer in enumerate(LAYERS) for module in layer}
    upward = {other for other in imported(name)[0] if height[other] >= height[name]}
    assert not upward, f"{name} may not import {upward}"


@pytest.mark.parametrize(("library", "owners"), OWNERS.items())
def test_each_library_has_its_owner(library, owners):
    assert {name for name in modules() if library in imported(name)[1]} == owners


@pytest.mark.parametrize("name", sorted(SCIENCE))
def test_science_touches_no_file_and_no_clock(name):
    assert not imported(name)[1] & NOT_SCIENCE
    source = modules()[name].read_text()
    assert "np.random.seed" not in source
    assert "open(" not in source


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=str)
def test_packages_do_nothing_on_import(path):
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


def stage_deps() -> list[tuple[str, set[str]]]:
    """Return the program of each stage of DVC, and the sources that it lists."""
    found = []
    for file, programs in PROGRAMS.items():
        for stage, definition in YAML(typ="safe").load((ROOT / file).read_text())["stages"].items():
            deps = definition.get("do", definition)["deps"]
            if definition.get("always_changed"):  # what it imports makes no difference to when it runs
                continue
            found.append((programs.get(stage, stage), {dep for dep in deps if dep.startswith("src/")}))
    return found


@pytest.mark.parametrize(("program", "deps"), stage_deps())
def test_dvc_knows_exactly_what_a_stage_imports(program, deps):
    # DVC does not follow imports. What a stage does not list would change without a rerun; what it lists for
    # nothing would rerun without need. `commands` and what they wire in (tracking, resources) cannot change a result.
    needed = {f"src/xtcav_ml/{name.replace('.', '/')}.py" for name in reached(f"stages.{program}")}
    assert deps == needed


def test_the_graph_protects_the_test_set():
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    users = [stage for stage, definition in stages.items() if "data/prepared/test.h5" in definition["deps"]]
    assert users == ["evaluate"]
    for name in ("stages.train", "stages.tune", "trial", "fit"):
        assert "test.h5" not in modules()[name].read_text()
        assert '"test"' not in modules()[name].read_text()
