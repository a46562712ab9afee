"""A training's run: the same calls log it now or rebuild it from its results, and no stage imports them."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xtcav_ml.config.paths import METRICS, PLOTS, PREDICTIONS, RESOURCES
from xtcav_ml.lineage import lineage
from xtcav_ml.lineage.environment import versions
from xtcav_ml.system import interrupts
from xtcav_ml.tracking import mlflow_names, provenance
from xtcav_ml.tracking.tracker import Run, Tracker

REQUIREMENTS = ("keras", "tensorflow", "numpy", "h5py", "pandas", "pydantic", "ruamel.yaml")
"""Libraries that a served model imports, besides this package and MLflow."""

COUNT_TAG = "evaluation.count"
"""How many evaluations a run has; each is a step of its test metrics, and the first is step 0."""


class TrainingRun:
    """A listener of `fit` that logs every epoch to a run."""

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
def training(
    device: str, experiment: str | None = None, origin: lineage.Lineage | None = None
) -> Iterator[TrainingRun]:
    """Yield a run for a training on `device` of the workspace, or of `origin` for an experiment of the notes.

    It ends FINISHED, FAILED on an error, KILLED on Ctrl-C, which takes effect after a minibatch; the next training of the
    same identity resumes one that was killed outright. The training's usage, in RESOURCES by then, is logged too.
    """
    origin = origin or lineage.of_stage("train")
    own, usage = {"stage": "train", "device": device}, "train"
    if experiment is not None:
        own, usage = {"stage": "experiment", "experiment": experiment, "device": device}, f"experiment-{experiment}"
    identity = hashlib.sha256(json.dumps([origin.identity, own], sort_keys=True).encode()).hexdigest()
    with interrupts.held(), Tracker(lineage.project_root(), identity) as tracker:
        listener = begin(tracker, origin, {**own, **provenance.tags(origin)}, experiment)
        yield listener
        used, picture = (RESOURCES / f"{usage}{suffix}" for suffix in (".json", ".png"))
        if used.is_file():
            numbers = json.loads(used.read_text())
            listener.run.metrics({f"usage/{name}": value for name, value in numbers.items()})
        if picture.is_file():
            listener.run.artifact(picture, PLOTS.name)
        listener.run.finish()


def begin(
    tracker: Tracker, origin: lineage.Lineage, tags: Mapping[str, str], experiment: str | None = None
) -> TrainingRun:
    """Return a run of the train stage, or of an experiment of the notes, with `tags` and its origin."""
    if experiment is None:
        params, store = provenance.params_of_stage(), mlflow_names.EXPERIMENT
    else:
        params, store = origin.params, mlflow_names.NOTES
    name = experiment or origin.params["train"]["model"]["name"]
    run = tracker.start(f"{name}-{origin.key[:8]}", tags, store)
    if not run.logged:
        provenance.log_origin(run, origin, params)
    return TrainingRun(run, origin.identity)


def log_model(run: Run, path: Path) -> None:
    """Log the trained model with the versions that it needs."""
    run.model(path, [f"{name}=={version}" for name, version in versions(REQUIREMENTS).items()])


def log_evaluation(run: Run, results: Path, tags: Mapping[str, str]) -> None:
    """Log what evaluate wrote into the folder `results`; the run's `tags` count earlier evaluations of the same model."""
    metrics, earlier = json.loads((results / METRICS.name).read_text()), int(tags.get(COUNT_TAG, 0))
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    for target, errors in metrics.get("regression", {}).items():
        numbers |= {f"{target}_{name}": value for name, value in errors.items() if value is not None}
    for picture in sorted((results / PLOTS.name).glob("*.png")):
        run.artifact(picture, PLOTS.name)
    for path in (METRICS, PREDICTIONS):
        run.artifact(results / path.name)
    provenance.log_test_data(run)
    run.metrics({f"test_{name}": value for name, value in numbers.items()}, step=earlier)
    digest, note = lineage.file_md5(results / METRICS.name), provenance.note(metrics, tags)
    run.tags({COUNT_TAG: str(earlier + 1), mlflow_names.EVALUATION_TAG: digest, "mlflow.note.content": note})
