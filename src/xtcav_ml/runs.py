"""A stage's run in MLflow: joins lineage, resources and tracking, so that the stages themselves know none of them."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml import atomic, interrupts, lineage, models, tracking
from xtcav_ml.params.base import flatten, read_tree
from xtcav_ml.resources import RESOURCES, Sampler

SIMULATED = "data/raw/simulated"
REQUIREMENTS = ("keras", "tensorflow", "numpy")


class TrainingRun:
    """A listener of `fit` that writes every epoch to an MLflow run. A store that fails later on does not stop training."""

    def __init__(self, run: tracking.Run, identity: Mapping[str, str]) -> None:
        self.run, self.identity = run, identity

    def on_step(self, step: int, steps: int) -> None:
        """End the training if somebody asked for it: MLflow gets whole epochs."""
        interrupts.require_none()

    def on_resume(self, epochs: int, refused: Sequence[str]) -> None:
        """Say after which epoch an earlier process was stopped."""
        with tolerating("that the training was resumed"):
            self.run.tags({"resumed_after_epoch": str(epochs)})

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """Log the epoch's values, and the seconds of its parts, at step `epoch`."""
        with tolerating(f"epoch {epoch}"):
            self.run.metrics({**values, **{f"seconds/{name}": value for name, value in seconds.items()}}, step=epoch)


@contextlib.contextmanager
def tolerating(what: str) -> Iterator[None]:
    """Say that the store did not take `what`, and go on: the results are on disk, and worth more than their record."""
    try:
        yield
    except tracking.TrackingError as error:
        print(f"xtcav: MLflow did not take {what}: {str(error).splitlines()[0]}", file=sys.stderr)


@contextlib.contextmanager
def training(sampler: Sampler) -> Iterator[TrainingRun]:
    """Give a run for a training of what is in the workspace now. It ends FINISHED, FAILED on an error, KILLED on Ctrl-C."""
    origin = lineage.of_stage("train")
    with _ending(start_training_run(origin), origin, sampler) as run:
        yield run


@contextlib.contextmanager
def experiment(sampler: Sampler, name: str, origin: lineage.Lineage) -> Iterator[TrainingRun]:
    """Give a run, among those of the notes, for the training of experiment `name`; it ends as `training`'s."""
    tags = {"stage": "experiment", "experiment": name}
    run = _start(origin, f"{name}-{origin.key[:8]}", tags, origin.params, tracking.NOTES)
    with _ending(run, origin, sampler) as found:
        yield found


@contextlib.contextmanager
def _ending(run: tracking.Run, origin: lineage.Lineage, sampler: Sampler) -> Iterator[TrainingRun]:
    status = "FAILED"
    try:
        yield TrainingRun(run, origin.identity)
        with tolerating("resources"):
            run.metrics({f"usage/{name}": value for name, value in sampler.summary().items()})
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with tolerating(f"the run's end, {status}"):
            run.finish(status)


def start_training_run(origin: lineage.Lineage) -> tracking.Run:
    """Begin the run of the train stage, with parameters, lineage and data."""
    tree = read_tree()
    simulated = ("simulate",) if tree["data"]["raw"] == SIMULATED else ()
    params = {name: tree[name] for name in ("train", "prepare", "data", *simulated)}
    return _start(origin, f"{tree['train']['model']['name']}-{origin.key[:8]}", {"stage": "train"}, params)


def _start(
    origin: lineage.Lineage,
    name: str,
    own: Mapping[str, str],
    params: Mapping[str, Any],
    experiment: str = tracking.EXPERIMENT,
) -> tracking.Run:
    tags = {
        tracking.KEY_TAG: origin.key,
        **own,
        **{f"git.{name}": value for name, value in lineage.git_state().items()},
        **{f"env.{name}": value for name, value in lineage.environment().items()},
        **{f"data.{path}": value for path, value in origin.data.items()},
        **{f"code.{path}": value for path, value in origin.code.items()},
    }
    tags["mlflow.source.git.commit"] = tags["git.commit"]  # the UI's own column
    run = tracking.Run.start(lineage.project_root(), name, tags, experiment=experiment)
    run.params(flatten(dict(params)))
    for path, digest in origin.data.items():
        run.dataset(path, digest, Path(path), "training" if "train" in Path(path).name else "validation")
    return run


def log_model(run: tracking.Run, path: Path) -> None:
    """Store the trained model with the versions that it needs."""
    versions = lineage.environment(REQUIREMENTS)
    with tolerating("the model"):
        run.model(path, models.meaning_of(path), [f"{name}=={versions[name]}" for name in REQUIREMENTS])


def evaluated(metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path]) -> None:
    """Add test metrics and pictures to the run of the training that made the model.

    Where the store does not know it, as after DVC restored the training from its cache, the run is made anew from
    `history` first.
    """
    with tolerating("the evaluation"):
        _log_evaluation(metrics, history, pictures)


def _log_evaluation(metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path]) -> None:
    root = lineage.project_root()
    origin = lineage.of_stage("train")
    run = tracking.Run.find(root, origin.key)
    if run is None:
        run = start_training_run(origin)
        for epoch, values in enumerate(history, start=1):
            run.metrics(values, step=epoch)
        run.tags({"rebuilt": "true"})
        run.finish()
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    for target, errors in metrics.get("regression", {}).items():
        numbers |= {f"{target}_{name}": value for name, value in errors.items() if value is not None}
    run.metrics({f"test_{name}": value for name, value in numbers.items()})
    for picture in pictures:
        run.artifact(picture, "plots")
    run.artifact(Path("results/metrics.json"))
    run.artifact(Path("results/predictions.csv"))
    atomic.write_json(
        RESOURCES / "run.json",
        {"run_id": run.run_id, "experiment_id": run.experiment_id, "store": tracking.masked(tracking.store_uri(root))},
    )
