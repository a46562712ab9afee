"""A stage's run in MLflow: joins lineage, resources and tracking, so that the stages themselves know none of them."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml import atomic, interrupts, lineage, models, registry, store, tracking
from xtcav_ml.params.base import flatten, read_tree
from xtcav_ml.params.data import SIMULATED
from xtcav_ml.resources import RESOURCES

ADDRESS = RESOURCES / "run.json"
REQUIREMENTS = ("keras", "tensorflow", "numpy", "h5py", "pandas", "pydantic", "ruamel.yaml")
"""What a served model imports, besides this package and MLflow."""


class TrainingRun:
    """A listener of `fit` that writes every epoch to an MLflow run. A store that fails later on does not stop training."""

    def __init__(self, run: tracking.Run, identity: Mapping[str, str]) -> None:
        self.run, self.identity = run, identity

    def on_step(self, step: int, steps: int) -> None:
        """End the training if somebody asked for it: MLflow gets whole epochs."""
        interrupts.require_none()

    def on_resume(self, epochs: int, refused: Sequence[str]) -> None:
        """Say after which epoch an earlier process was stopped."""
        self.run.tags({"resumed_after_epoch": str(epochs)})

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """Log the epoch's values, and the seconds of its parts, at step `epoch`."""
        self.run.metrics({**values, **{f"seconds/{name}": value for name, value in seconds.items()}}, step=epoch)


@contextlib.contextmanager
def training(device: str) -> Iterator[TrainingRun]:
    """Give a run for a training on `device` of what is in the workspace now.

    It ends FINISHED, FAILED on an error, KILLED on Ctrl-C. What the training used is in RESOURCES by then, and is added.
    """
    origin = lineage.of_stage("train")
    with _run_of_stage(origin) as run:
        run.tags({"device": device})
        yield TrainingRun(run, origin.identity)
        _log_usage(run, "train")


@contextlib.contextmanager
def experiment(device: str, name: str, origin: lineage.Lineage) -> Iterator[TrainingRun]:
    """Give a run, among those of the notes, for the training of experiment `name`; it ends as `training`'s."""
    tags = {"stage": "experiment", "experiment": name, "device": device}
    with _begun(origin, name, tags, origin.params, store.NOTES) as run:
        yield TrainingRun(run, origin.identity)
        _log_usage(run, f"experiment-{name}")


@contextlib.contextmanager
def _run_of_stage(origin: lineage.Lineage) -> Iterator[tracking.Run]:
    """Give a new run of the train stage, and end it."""
    tree = read_tree()
    simulated = ("simulate",) if Path(tree["data"]["raw"]) == SIMULATED else ()
    params = {name: tree[name] for name in ("train", "prepare", "data", *simulated)}
    with _begun(origin, tree["train"]["model"]["name"], {"stage": "train"}, params) as run:
        yield run


@contextlib.contextmanager
def _begun(
    origin: lineage.Lineage,
    name: str,
    own: Mapping[str, str],
    params: Mapping[str, Any],
    experiment: str = store.EXPERIMENT,
) -> Iterator[tracking.Run]:
    """Give a new run with its `own` tags, `params`, lineage and data, and end it."""
    tags = {
        tracking.KEY_TAG: origin.key,
        **own,
        **{f"git.{name}": value for name, value in lineage.git_state().items()},
        **{f"env.{name}": value for name, value in lineage.environment().items()},
        **{f"data.{path}": value for path, value in origin.data.items()},
        **{f"code.{path}": value for path, value in origin.code.items()},
    }
    tags["mlflow.source.git.commit"] = tags["git.commit"]  # the UI's own column
    run = tracking.Run.start(lineage.project_root(), f"{name}-{origin.key[:8]}", tags, experiment=experiment)
    status = "FAILED"
    try:
        run.params(flatten(dict(params)))
        for path, digest in origin.data.items():
            run.dataset(path, digest, Path(path), "training" if "train" in Path(path).name else "validation")
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.finish(status)


def _log_usage(run: tracking.Run, stage: str) -> None:
    """Add what `resources.measured` found."""
    used, picture = (RESOURCES / f"{stage}{suffix}" for suffix in (".json", ".png"))
    if used.is_file():
        run.metrics({f"usage/{name}": value for name, value in json.loads(used.read_text()).items()})
    if picture.is_file():
        run.artifact(picture, "plots")


def log_model(run: tracking.Run, path: Path) -> None:
    """Store the trained model with the versions that it needs, and the MD5 by which `evaluated` finds its run."""
    run.tags({tracking.MODEL_TAG: lineage.file_md5(path)})
    versions = lineage.environment(REQUIREMENTS)
    with store.tolerating(f"the model of run {run.run_id}"):
        registry.log_model(
            run.run_id, path, models.meaning_of(path), [f"{name}=={versions[name]}" for name in REQUIREMENTS]
        )


def evaluated(metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path], model: Path) -> None:
    """Add test metrics and pictures to the run of the training that made the model, and keep its address for `summary`.

    Where the store does not know it, as after DVC restored the training from its cache, the run is made anew from
    `history` and the file `model` first.
    """
    ADDRESS.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    with store.tolerating("the evaluation"):
        _log_evaluation(metrics, history, pictures, model)


def _log_evaluation(
    metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path], model: Path
) -> None:
    root = lineage.project_root()
    origin = lineage.of_stage("train")
    run = tracking.Run.find(root, origin.key, lineage.file_md5(model))
    if run is None:
        with _run_of_stage(origin) as run:
            for epoch, values in enumerate(history, start=1):
                run.metrics(values, step=epoch)
            run.tags({"rebuilt": "true"})
            log_model(run, model)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    for target, errors in metrics.get("regression", {}).items():
        numbers |= {f"{target}_{name}": value for name, value in errors.items() if value is not None}
    run.metrics({f"test_{name}": value for name, value in numbers.items()})
    with store.tolerating(f"the tags of the model version of run {run.run_id}"):
        registry.tag_metrics(run.run_id)
    for picture in pictures:
        run.artifact(picture, "plots")
    run.artifact(Path("results/metrics.json"))
    run.artifact(Path("results/predictions.csv"))
    atomic.write_json(
        ADDRESS,
        {"run_id": run.run_id, "experiment_id": run.experiment_id, "store": store.masked(store.store_uri(root))},
    )
