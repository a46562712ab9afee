"""A stage's run in MLflow: joins lineage, resources and tracking, so that the stages themselves know none of them."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtcav_ml import atomic, interrupts, lineage, models, tracking
from xtcav_ml.params.base import flatten, read_tree
from xtcav_ml.params.data import SIMULATED
from xtcav_ml.resources import RESOURCES

ADDRESS = RESOURCES / "run.json"
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
    with _run_of(origin) as run:
        run.tags({"device": device})
        yield TrainingRun(run, origin.identity)
        used, picture = (RESOURCES / f"train{suffix}" for suffix in (".json", ".png"))
        if used.is_file():
            run.metrics({f"usage/{name}": value for name, value in json.loads(used.read_text()).items()})
        if picture.is_file():
            run.artifact(picture, "plots")


@contextlib.contextmanager
def _run_of(origin: lineage.Lineage) -> Iterator[tracking.Run]:
    """Give a new run of the train stage, with parameters, lineage and data, and end it."""
    run, status = _started(origin), "FAILED"
    try:
        _describe(run, origin)
        yield run
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.finish(status)


def _started(origin: lineage.Lineage) -> tracking.Run:
    tags = {
        tracking.KEY_TAG: origin.key,
        "stage": "train",
        **{f"git.{name}": value for name, value in lineage.git_state().items()},
        **{f"env.{name}": value for name, value in lineage.environment().items()},
        **{f"data.{path}": value for path, value in origin.data.items()},
        **{f"code.{path}": value for path, value in origin.code.items()},
    }
    tags["mlflow.source.git.commit"] = tags["git.commit"]  # the UI's own column
    name = read_tree()["train"]["model"]["name"]
    return tracking.Run.start(lineage.project_root(), f"{name}-{origin.key[:8]}", tags)


def _describe(run: tracking.Run, origin: lineage.Lineage) -> None:
    tree = read_tree()
    simulated = ("simulate",) if Path(tree["data"]["raw"]) == SIMULATED else ()
    run.params(flatten({name: tree[name] for name in ("train", "prepare", "data", *simulated)}))
    for path, digest in origin.data.items():
        run.dataset(path, digest, Path(path), "training" if "train" in Path(path).name else "validation")


def log_model(run: tracking.Run, path: Path) -> None:
    """Store the trained model with the versions that it needs, and the MD5 by which `evaluated` finds its run."""
    run.tags({tracking.MODEL_TAG: lineage.file_md5(path)})
    versions = lineage.environment(REQUIREMENTS)
    run.model(path, models.meaning_of(path), [f"{name}=={versions[name]}" for name in REQUIREMENTS])


def evaluated(metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path], model: Path) -> None:
    """Add test metrics and pictures to the run of the training that made the model, and keep its address for `summary`.

    Where the store does not know it, as after DVC restored the training from its cache, the run is made anew from
    `history` and the file `model` first.
    """
    ADDRESS.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    with tracking.tolerating("the evaluation"):
        _log_evaluation(metrics, history, pictures, model)


def _log_evaluation(
    metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path], model: Path
) -> None:
    root = lineage.project_root()
    origin = lineage.of_stage("train")
    run = tracking.Run.find(root, origin.key, lineage.file_md5(model))
    if run is None:
        with _run_of(origin) as run:
            for epoch, values in enumerate(history, start=1):
                run.metrics(values, step=epoch)
            run.tags({"rebuilt": "true"})
            log_model(run, model)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    for target, errors in metrics.get("regression", {}).items():
        numbers |= {f"{target}_{name}": value for name, value in errors.items() if value is not None}
    run.metrics({f"test_{name}": value for name, value in numbers.items()})
    for picture in pictures:
        run.artifact(picture, "plots")
    run.artifact(Path("results/metrics.json"))
    run.artifact(Path("results/predictions.csv"))
    atomic.write_json(
        ADDRESS,
        {"run_id": run.run_id, "experiment_id": run.experiment_id, "store": tracking.masked(tracking.store_uri(root))},
    )
