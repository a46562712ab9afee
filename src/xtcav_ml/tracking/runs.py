"""A stage's run in MLflow: joins lineage, resources and tracking, so that the stages themselves know none of them."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import RESOURCES
from xtcav_ml.lineage import lineage
from xtcav_ml.system import interrupts
from xtcav_ml.tracking import mlflow_names, provenance
from xtcav_ml.tracking.tracker import Run, Tracker

REQUIREMENTS = ("keras", "tensorflow", "numpy", "h5py", "pandas", "pydantic", "ruamel.yaml")
"""What a served model imports, besides this package and MLflow."""


class TrainingRun:
    """A listener of `fit` that writes every epoch to a run."""

    def __init__(self, run: Run, identity: Mapping[str, str]) -> None:
        self.run, self.identity = run, identity

    def on_step(self, step: int, steps: int) -> None:
        """MLflow gets whole epochs."""

    def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
        """Tag the epoch after which an earlier process was stopped, if one was resumed."""
        if epochs:
            self.run.tags({"resumed_after_epoch": str(epochs)})

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """Log the epoch's values, and the seconds of its parts, at step `epoch`."""
        self.run.metrics({**values, **{f"seconds/{name}": value for name, value in seconds.items()}}, step=epoch)


@contextlib.contextmanager
def training(device: str) -> Iterator[TrainingRun]:
    """Give a run for a training on `device` of what is in the workspace now.

    It ends FINISHED, FAILED on an error, KILLED on Ctrl-C, which is heard after a minibatch; one that was killed before it
    could say so is gone on with by the next training of the same. What the training used is in RESOURCES by then, and is added.
    """
    origin, params = lineage.of_stage("train"), provenance.params_of_stage()
    own = {"stage": "train", "device": device}
    with _begun(origin, provenance.name_of(origin), own, params) as run:
        yield TrainingRun(run, origin.identity)
        _log_usage(run, "train")


@contextlib.contextmanager
def experiment(device: str, name: str, origin: lineage.Lineage) -> Iterator[TrainingRun]:
    """Give a run, among those of the notes, for the training of experiment `name`; it ends as `training`'s."""
    own = {"stage": "experiment", "experiment": name, "device": device}
    with _begun(origin, f"{name}-{origin.key[:8]}", own, origin.params, mlflow_names.NOTES) as run:
        yield TrainingRun(run, origin.identity)
        _log_usage(run, f"experiment-{name}")


@contextlib.contextmanager
def _begun(
    origin: lineage.Lineage,
    name: str,
    own: Mapping[str, str],
    params: Mapping[str, Any],
    experiment: str = mlflow_names.EXPERIMENT,
) -> Iterator[Run]:
    """Give a run with its `own` tags, `params` and where it comes from, and end it."""
    identity = hashlib.sha256(json.dumps([origin.identity, own], sort_keys=True).encode()).hexdigest()
    with interrupts.held(), Tracker(lineage.project_root(), identity) as tracker:
        tags = {**own, **provenance.tags(origin)}
        run = tracker.start(name, tags, experiment)
        status = "FAILED"
        try:
            if not run.told:
                provenance.describe(run, origin, params)
            yield run
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            run.finish(status)


def _log_usage(run: Run, stage: str) -> None:
    """Add what `resources.measured` found."""
    used, picture = (RESOURCES / f"{stage}{suffix}" for suffix in (".json", ".png"))
    if used.is_file():
        run.metrics({f"usage/{name}": value for name, value in json.loads(used.read_text()).items()})
    if picture.is_file():
        run.artifact(picture, "plots")


def log_model(run: Run, path: Path) -> None:
    """Store the trained model with the versions that it needs."""
    versions = lineage.environment(REQUIREMENTS)
    run.model(path, [f"{name}=={versions[name]}" for name in REQUIREMENTS])
