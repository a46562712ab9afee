"""What is around the training: the train stage beside bare Keras, tracking, starts, and a repro with nothing to do.

The train stage is what `dvc repro` runs: reading from disk, diagnostics, checkpoints, resource usage, an MLflow run with its
model. Bare Keras holds all frames in memory and does nothing else. Both train the network of params.yaml on data/prepared,
which `make repro` makes.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import contenders, tables
from benchmarks.contenders import timed
from benchmarks.tables import Row
from benchmarks.training import Made

ROOT = Path(__file__).parents[1]
PREPARED = ROOT / "data/prepared"
BIN = Path(sys.executable).parent


def bare(epochs: int) -> Made:
    """Return a training by Keras alone, in the layers that `fit` uses."""
    from xtcav_ml.config import params_file
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, layer_plan, losses, networks, normalization, optimizers
    from xtcav_ml.learning.batches import Batches
    from xtcav_ml.learning.layer_plan import Ends

    params = params_file.load_params().train
    backend.configure(params.seed, params.threads)
    kept = []
    for name in ("train", "validation"):
        with PreparedFile(PREPARED / f"{name}.h5") as file:
            kept.append(Batches(file, file.shots)[0])
            if name == "train":
                ends = Ends.of(file.spec)
                statistics = normalization.statistics_of(file, params.model.standardize)
    layers = layer_plan.fused(layer_plan.plan_layers(params.model, ends), params.precision)

    def train() -> None:
        model = networks.build(layers, params.model, statistics, seed=params.seed)
        optimizer = optimizers.make_optimizer(params.optimizer, 1000)
        model.compile(optimizer=optimizer, **losses.compiled(ends, statistics.numbers.sd, 1.0))
        model.fit(*kept[0], validation_data=kept[1], batch_size=params.batch_size, epochs=epochs, verbose=0)

    return train, None


def stage(epochs: int) -> Made:
    """Return the train stage with its MLflow run, in a project and a store of its own."""
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import train
    from xtcav_ml.tracking import mlflow_store, resources, runs

    params = params_file.load_params().train.model_copy(update={"epochs": epochs})
    kept = tempfile.TemporaryDirectory()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{kept.name}/mlflow.db"
    mlflow_store.connect(ROOT)  # makes the database, which a project does once

    def run() -> Any:
        folder = Path(tempfile.mkdtemp(dir=kept.name))  # no training goes on from the one before
        resources.RESOURCES = runs.RESOURCES = folder / "resources"
        model = folder / "models/model.keras"
        with runs.training_run("CPU", model) as (run, identity):
            assert run is not None
            with resources.measured("train"):
                train.train_network(params, PREPARED, model, folder / "history.jsonl", [run], identity)
            runs.log_model(run, model)
        return kept

    return run, None


def staged(epochs: int, turns: int) -> list[Row]:
    """Compare the train stage with bare Keras."""
    running = contenders.started({"bare Keras": (bare, epochs), "stage train": (stage, epochs)})
    times = contenders.in_turns(running, turns)
    peaks = {name: one.end() for name, one in running.items()}
    return tables.rows(f"a training of {epochs} epochs", times, 1, peaks)


def _tracked(epochs: int) -> Made:
    """Return seconds of a training, of them in its thread for tracking, and CPU of the thread that uploads."""
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import train
    from xtcav_ml.tracking.tracker import Tracker

    class Timed:
        """A listener that times another."""

        def __init__(self, listener: Any) -> None:
            self.listener, self.seconds = listener, 0.0

        def __getattr__(self, name: str) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                started = time.perf_counter()
                getattr(self.listener, name)(*arguments)
                self.seconds += time.perf_counter() - started

            return call

    params = params_file.load_params().train.model_copy(update={"epochs": epochs})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        with Tracker(folder) as tracker:
            listener = Timed(tracker.start("benchmark", {}))
            clock = time.pthread_getcpuclockid(tracker.uploader._thread.ident)
            started, before = time.perf_counter(), time.clock_gettime(clock)
            train.train_network(params, PREPARED, folder / "model.keras", folder / "history.jsonl", [listener])
            seconds, uploading = time.perf_counter() - started, time.clock_gettime(clock) - before
            listener.listener.finish()
    return lambda: None, (seconds, listener.seconds, uploading)


def tracked(epochs: int) -> list[Row]:
    """Return an epoch's time, and what tracking takes of it in the training's thread and in the one that uploads.

    Measured within one training: a difference of a per cent between two trainings would be noise.
    """
    child = contenders.Contender(_tracked, epochs)
    child.end()
    names = ("training", "tracking, in the training's thread", "tracking, CPU of the thread that uploads")
    return tables.rows("an epoch", dict(zip(names, [[x] for x in child.answers], strict=True)), epochs)


def commands(turns: int) -> list[Row]:
    """Compare the start of `xtcav` with that of the programs around it, and repros with nothing to do."""

    def run(*command: str) -> Callable[[], float]:
        return timed(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=True))

    starts = {f"{name} --help": run(str(BIN / name), "--help") for name in ("xtcav", "dvc", "mlflow", "optuna")}
    found = tables.rows("start", contenders.in_turns(starts, turns), 1)
    repros = {"make repro": run("make", "repro"), "dvc repro": run(str(BIN / "dvc"), "repro")}
    repros["dvc status"] = run(str(BIN / "dvc"), "status")
    return found + tables.rows("nothing to do", contenders.in_turns(repros, turns), 1)


def measure(turns: int, threads: int, quick: bool) -> Iterator[list[Row]]:
    """Yield the tables of this module. Raises SystemExit if `make repro` has not been run."""
    del threads  # train.threads
    if not (PREPARED / "train.h5").is_file():
        raise SystemExit(f"{PREPARED}: missing (expected the prepared data). Fix: run `make repro`")
    from xtcav_ml.config import params_file

    yield staged(1 if quick else params_file.load_params().train.epochs, min(turns, 3))
    yield tracked(2 if quick else 8)
    yield commands(turns)
