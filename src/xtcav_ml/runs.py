"""A stage's run in MLflow: joins lineage, resources and tracking, so that the stages themselves know none of them."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xtcav_ml import atomic, lineage, tracking
from xtcav_ml.params.base import flatten, read_tree
from xtcav_ml.resources import RESOURCES, Sampler

REQUIREMENTS = ("keras", "tensorflow", "numpy")


class TrainingRun:
    """A listener of `fit` that writes every epoch to an MLflow run."""

    def __init__(self, run: tracking.Run) -> None:
        self.run = run

    def on_step(self, step: int, steps: int) -> None:
        """Nothing: MLflow gets whole epochs."""

    def on_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Log the epoch's values at step `epoch`."""
        self.run.metrics(values, step=epoch)


@contextlib.contextmanager
def training(sampler: Sampler) -> Iterator[TrainingRun]:
    """Give a run for a training of what is in the workspace now. It ends FINISHED, FAILED on an error, KILLED on Ctrl-C."""
    run = start_training_run()
    try:
        yield TrainingRun(run)
    except KeyboardInterrupt:
        run.finish("KILLED")
        raise
    except BaseException:
        run.finish("FAILED")
        raise
    run.metrics({f"resources/{name}": value for name, value in sampler.summary().items()})
    run.finish()


def start_training_run() -> tracking.Run:
    """Begin the run of the train stage, with parameters, lineage and data."""
    tree = read_tree()
    origin = lineage.of_stage("train")
    tags = {
        tracking.KEY_TAG: origin.key,
        "stage": "train",
        **{f"git.{name}": value for name, value in lineage.git_state().items()},
        **{f"env.{name}": value for name, value in lineage.environment().items()},
        **{f"data.{path}": value for path, value in origin.data.items()},
        **{f"code.{path}": value for path, value in origin.code.items()},
    }
    tags["mlflow.source.git.commit"] = tags["git.commit"]  # the UI's own column
    run = tracking.Run.start(lineage.project_root(), f"{tree['train']['model']['name']}-{origin.key[:8]}", tags)
    run.params(flatten({name: tree[name] for name in ("train", "prepare", "data", "simulate")}))
    for path, digest in origin.data.items():
        run.dataset(path, digest, Path(path), "training" if "train" in Path(path).name else "validation")
    return run


def log_model(run: tracking.Run, model: Any, example: Any) -> None:
    """Store the trained network with the versions that it needs."""
    versions = lineage.environment(REQUIREMENTS)
    run.model(model, example, [f"{name}=={versions[name]}" for name in REQUIREMENTS])


def evaluated(metrics: Mapping[str, Any], history: list[dict[str, float]], pictures: list[Path]) -> None:
    """Add test metrics and pictures to the run of the training that made the model.

    Where the store does not know it, as after DVC restored the training from its cache, the run is made anew from
    `history` first.
    """
    root = lineage.project_root()
    run = tracking.Run.find(root, lineage.of_stage("train").key)
    if run is None:
        run = start_training_run()
        for epoch, values in enumerate(history, start=1):
            run.metrics(values, step=epoch)
        run.tags({"rebuilt": "true"})
        run.finish()
    run.metrics({name: value for name, value in metrics.items() if isinstance(value, (int, float))})
    for picture in pictures:
        run.artifact(picture, "plots")
    run.artifact(Path("results/metrics.json"))
    atomic.write_json(
        RESOURCES / "run.json",
        {"run_id": run.run_id, "experiment_id": run.experiment_id, "store": tracking.store_uri(root)},
    )
