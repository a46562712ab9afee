"""What several tests share: small raw files, made with plain h5py and none of the project's code, the parameters, a store."""

import contextlib
import functools
import gc
import os
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import settings
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from xtcav_ml.config import base, params_file
from xtcav_ml.config.prepare import Pixels, Step
from xtcav_ml.config.schema import REDRAWN
from xtcav_ml.data.apart import Apart
from xtcav_ml.data.prepared_writing import write_prepared
from xtcav_ml.data.shards import FrameBlock
from xtcav_ml.lineage import fingerprint
from xtcav_ml.science.images import Dark, Preprocessing
from xtcav_ml.science.spec import LearningSpec

ROOT = Path(__file__).parent.parent

THOROUGH = [
    "end_to_end/test_slurm.py",
    "end_to_end/test_record.py",
    "end_to_end/test_one_more_file.py",
    "end_to_end/test_reproduce.py",
    "end_to_end/test_server.py",
    "end_to_end/test_repro_again.py",
    "end_to_end/test_browser.py",
    "end_to_end/test_search_pages.py",
    "end_to_end/test_code.py",
    "end_to_end/test_streams.py",
    "end_to_end/test_interrupt.py",
    "end_to_end/test_disk_full.py",
    "end_to_end/test_moved.py",
    "tracking/test_many_writers.py",
    "end_to_end/test_your_files.py",
    "end_to_end/test_writers.py",
    "end_to_end/test_tune.py",
    "end_to_end/test_processes.py",
    "end_to_end/test_workers.py",
    "end_to_end/test_environment.py",
    "end_to_end/test_targets.py",
    "end_to_end/test_scalars.py",
    "test_backends.py",
    "end_to_end/test_signals.py",
    "end_to_end/test_notes.py",
    "end_to_end/test_own_files.py",
    "end_to_end/test_damaged_files.py",
    "end_to_end/test_diff.py",
    "end_to_end/test_seeds.py",
    "data/test_hostile_raw_files.py",
    "data/test_layouts_trained.py",
    "data/test_strange_folders.py",
    "test_flipped_bits.py",
    "test_benchmarks.py",
    "learning/test_hostile_models.py",
    "learning/test_compile_ahead.py",
    "pipeline/test_by_workers.py",
    "pipeline/test_processors.py",
    "science/simulation/test_machine.py",
    "tracking/test_mlflow_writer.py",
    "tracking/test_sqlite_store.py",
    "tracking/registry/test_serving.py",
    "tools/reproduction/test_restored.py",
    "tuning/test_trial.py",
    "server/test_postgres.py",
    "server/test_services.py",
    "system/test_child_process.py",
    "system/test_workers.py",
    "system/test_streams.py",
]
"""Kills, servers, browsers, full disks, other backends, later runs of the pipeline: the files that `make test` leaves to
`make test-thorough`. CONTRIBUTING.md has the promises that they hold.

test_slurm.py and test_workers.py train in several processes at once: apart from each other they take half the time."""

LONGEST = [
    "end_to_end/test_repro.py",
    "learning/test_fit.py",
    "pipeline/test_evaluate.py",
    "learning/test_checkpoint.py",
    "tools/test_promote_model.py",
    "tracking/registry/test_versions.py",
    "tuning/test_parallel.py",
    "data/test_layouts.py",
    "tuning/test_loop.py",
    "tuning/test_objectives.py",
    "end_to_end/test_bad_input.py",
    "data/test_defects.py",
    "figures/test_drawing.py",
    "learning/test_predictor.py",
    "report/test_page.py",
    "tuning/test_larger.py",
    "tracking/test_record.py",
    "lineage/test_fingerprint.py",
]
"""Of the others, those that take longest; the longest of these, and of the thorough ones, is first."""

FORKING = ["data/test_hostile_raw_files.py"]
"""It forks the process of the tests, in which TensorFlow must not have computed anything yet: the first of all."""

settings.register_profile("fast", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None)
settings.load_profile("fast")


def pytest_configure() -> None:
    """Let a closed terminal end what tests start, as it does for those who did not start the tests below `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the thorough files alone where none of their tests is to run: to import them all takes seconds."""
    name = collection_path.relative_to(ROOT / "tests").as_posix() if collection_path.suffix == ".py" else ""
    return True if name in THOROUGH and "not thorough" in config.option.markexpr else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the thorough tests, and put what takes longest first: two processes are then done at about the same time."""
    order = [*FORKING, *LONGEST, *THOROUGH]
    names = {item: item.path.relative_to(ROOT / "tests").as_posix() for item in items}
    for item, name in names.items():
        if name in THOROUGH:
            item.add_marker("thorough")
    items.sort(key=lambda item: order.index(names[item]) if names[item] in order else len(order))


def pytest_collection_finish() -> None:
    """Spare what has been imported, a million objects, the search for garbage, which would be a tenth of the tests' time."""
    gc.collect()
    gc.freeze()


STORE = "MLFLOW_TRACKING_URI"
SHAPE = (24, 20)
STORED = Pixels(dtype="int16", quantum=0.0005)


@pytest.fixture(scope="session", autouse=True)
def _package_parsed_once() -> Iterator[None]:
    """Fingerprints of this package, which no test edits, parse it once a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "Package", functools.cache(fingerprint.Package))
        yield


@pytest.fixture(autouse=True)
def _store_of_one_test() -> Iterator[None]:
    """MLflow keeps the store that it is told of in the environment, where the next test would find it."""
    before = os.environ.get(STORE)
    yield
    if os.environ.get(STORE) != before:
        import mlflow

        mlflow.set_tracking_uri(before)
        os.environ.pop(STORE, None) if before is None else os.environ.update({STORE: before})


def read_here(patch: pytest.MonkeyPatch) -> None:
    """Read raw files in this process: a fork of one that has imported TensorFlow takes a tenth of a second, each time."""
    patch.setattr(Apart, "__call__", lambda self, path, *more: self._function(path, *more))
    patch.setattr(Apart, "each", lambda self, paths: map(self._function, paths))


@pytest.fixture(autouse=True)
def _files_read_here(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave forks that read raw files to the tests marked `forks`, and to the commands that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("forks") is None:
            read_here(patch)
        yield


@pytest.fixture
def own_forks() -> Iterator[None]:
    """A server of forks that has imported what this test says: there is one a process, which other tests use, too."""
    server = forkserver._forkserver
    before, server._preload_modules = server._preload_modules, []
    server._stop()
    yield
    server._stop()
    server._preload_modules = before


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of the session have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def params() -> params_file.Params:
    """params.yaml as the project ships it, but for raw frames: those of `raw_folder` need their dark run."""
    shipped = params_file.load_params(ROOT / "params.yaml")
    images = [{"step": "subtract_dark"}, *(step.model_dump() for step in shipped.prepare.images)]
    tree = base.read_tree(ROOT / "params.yaml")["prepare"] | {"dark_run": 68, "images": images}
    return shipped.model_copy(update={"prepare": base.validate_section(tree, type(shipped.prepare), "prepare")})


def write_shots(
    path: Path, *, run: int, count: int, first: int = 0, lasing: int = 1, seed: int = 0, shape=SHAPE
) -> Path:
    """Write a raw file by other means than the simulator: label 0 to 3 shows as that many bright stripes."""
    rng = np.random.default_rng([seed, run, first])
    index = np.arange(first, first + count)
    label = rng.integers(0, 4, count) * lasing
    frames = rng.normal(100, 3, (count, *shape))
    for stripe in range(1, 4):
        frames[:, :, shape[1] // 5 * stripe] += 300 * (label >= stripe)[:, np.newaxis]
    with h5py.File(path, "w") as file:
        file["xtcavimg"] = frames.astype(np.int16)
        file["acq.waveforms"] = rng.normal(size=(count, 16, 250))
        file["acq.peaksLabel"] = label.astype(np.int32)
        for peak in ("t0", "t1", "t2"):
            file[f"acq.{peak}.pos"] = np.full(count, np.nan)
            file[f"acq.{peak}.ampl"] = np.full(count, np.nan)
        file["bld.L3energy"] = rng.normal(4000, 3, count)
        file["evt.seconds"] = 1_440_000_000 + 1000 * run + index // 120
        file["evt.nanoseconds"] = (index % 120) * 8_333_333
        file["evt.fiducials"] = 3 * index
        file["lasing"] = np.full(count, lasing)
        file["run"] = np.full(count, run)
        file["run.index"] = index
    return path


def write_prepared_file(
    path: Path,
    frames: np.ndarray,
    labels: np.ndarray | None,
    *,
    regression: dict[str, np.ndarray] | None = None,
    features: dict[str, np.ndarray] | None = None,
    steps: tuple[dict, ...] = ({"step": "subtract_dark"}, {"step": "block_mean", "size": 2}, {"step": "log"}),
    pixels: Pixels = STORED,
    truth: np.ndarray | None = None,
    redrawn: np.ndarray | None = None,
    frames_written: int | None = None,
) -> Path:
    """Write a prepared file of raw frames (N, rows, columns) above a dark frame of 100 ADU, two in a block."""
    regression, features = regression or {}, features or {}
    shots, shape = len(frames), frames.shape[1:]
    dark = Dark(np.full(shape, 100, np.float32), np.full(shape, 3, np.float32))
    preprocessing = Preprocessing(TypeAdapter(tuple[Step, ...]).validate_python(steps), pixels, shape, dark)
    classes = () if labels is None else ("no", "yes")
    label = None if labels is None else "side"
    spec = LearningSpec(label, classes, tuple(regression), tuple(features), preprocessing)
    columns = {"side": labels, "run": np.full(shots, 70), "run.index": np.arange(shots), **regression, **features}
    columns |= {f"evt.{name}": np.arange(shots) for name in ("seconds", "nanoseconds", "fiducials")}
    if truth is not None:
        columns["truth.label"] = truth
    if redrawn is not None:
        columns |= dict(zip(REDRAWN, redrawn.T, strict=False))
    made = preprocessing.prepare(frames)[:frames_written]
    blocks = (
        FrameBlock.of(made[i : i + 2], np.zeros(len(made[i : i + 2]), np.int64), np.ones(len(made[i : i + 2])))
        for i in range(0, len(made), 2)
    )
    write_prepared(path, spec, columns, (["a.h5", "b.h5"], np.arange(shots) % 2, np.arange(shots)), blocks)
    return path


@pytest.fixture
def raw_folder(tmp_path: Path) -> Path:
    """Three small files: dark run 68, lasing runs 70 and 71, 300 shots each of the latter."""
    folder = tmp_path / "raw"
    folder.mkdir()
    write_shots(folder / "dark.h5", run=68, count=8, lasing=0)
    write_shots(folder / "a.h5", run=70, count=300)
    write_shots(folder / "b.hdf5", run=71, count=300)
    return folder


def begin_event(name: str) -> dict[str, object]:
    """Return the first event of a journal."""
    texts = dict.fromkeys(("run_key", "store", "identity", "experiment"), "x")
    return {"event": "begin", "name": name, **texts, "parent": None, "tags": {}, "adds": False, "time_ms": 1}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder as somebody, and return what it says."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@functools.cache
def empty_database() -> bytes:
    """Return MLflow's SQLite database with its tables and nothing in them: to make one takes seconds."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        made, copy = Path(folder) / "made.db", Path(folder) / "copy.db"
        mlflow.MlflowClient(f"sqlite:///{made}").search_experiments()
        with contextlib.closing(sqlite3.connect(made)) as connection:
            connection.execute(f"VACUUM INTO '{copy}'")
        return copy.read_bytes()


def lay_store(folder: Path) -> None:
    """Put an empty MLflow database where a project in `folder` has it."""
    (folder / "mlruns").mkdir(exist_ok=True)
    (folder / "mlruns" / "mlflow.db").write_bytes(empty_database())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with an empty store, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("store")
    lay_store(folder)
    return folder


class StoredRun:
    """A run that is in the store of the project in `root` at once, for tests of what is done with runs that are there."""

    def __init__(self, root: Path, **tags: str) -> None:
        from xtcav_ml.tracking import mlflow_store

        self.client, self.experiment_id = mlflow_store.connect(root)
        self.run_id: str = self.client.create_run(self.experiment_id, tags=tags, run_name="one").info.run_id

    def params(self, values: dict[str, object]) -> None:
        for name, value in values.items():
            self.client.log_param(self.run_id, name, value)

    def metrics(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value)

    def artifact(self, path: Path) -> None:
        self.client.log_artifact(self.run_id, str(path))

    def finish(self, status: str = "FINISHED") -> None:
        self.client.set_terminated(self.run_id, status)


@pytest.fixture(scope="session")
def keras_ready() -> None:
    """Configure TensorFlow, which can be done only once a process, as the train stage does."""
    from xtcav_ml.learning import backend

    backend.configure(seed=1, threads=2)


@contextlib.contextmanager
def without_graphs() -> Iterator[None]:
    """Run layers one by one: for few steps that is quicker than to build a graph, which takes seconds."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eager(keras_ready: None) -> Iterator[None]:
    with without_graphs():
        yield


@contextlib.contextmanager
def small_pictures() -> Iterator[None]:
    """Draw as `evaluate` does in the warm process, with two frames of a class on a sheet: it takes most of its time."""
    from tests.warm_process import SMALL_PICTURES
    from xtcav_ml.figures import drawing
    from xtcav_ml.pipeline import sheets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sheets, "FRAMES_PER_CLASS", 2)
        for name, value in SMALL_PICTURES.items():
            patch.setitem(drawing.STYLE, name, value)
        yield


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as a stage sees it, but of two small files, with a store that is empty."""
    from xtcav_ml.tracking import uploader

    stages = {"train": {"cmd": "x", "params": ["train"], "deps": ["train.h5"]}}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": stages}, file)
    (tmp_path / "params.yaml").write_text(
        "train: {model: {name: convnet}}\nprepare: {include: {'gate[0]': 1}}\ndata: {raw: mine}\n"
    )
    lay_store(tmp_path)
    (tmp_path / "requirements.txt").write_text("keras==3.15.1\n")
    (tmp_path / "train.h5").write_text("data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("BATCH_PAUSE", "FIRST_PAUSE", "LAST_PAUSE"):
        monkeypatch.setattr(uploader, name, 0.01)
    return tmp_path


def stored_runs(workspace: Path) -> list[Any]:
    """Return all runs in the store, oldest first."""
    from xtcav_ml.tracking import mlflow_store

    client, experiment = mlflow_store.connect(workspace)
    return list(client.search_runs([experiment], order_by=["attributes.start_time ASC"]))
