"""Epochs that a search spends until it has a network as good as the median best of 40 random trials.

A small network on the shots of data/prepared (make repro first): every third of the training shots, frames averaged twelve by
twelve. The best of 40 of a pool of random trials, all trained to the end, is drawn again and again; its median is the mark. The
tuner's own way of choosing and stopping trials (`tuning.studies`, `tuning.rungs`), with each seed, counts each epoch that it
trains until a trial that has reached its end is as good as the mark. Training is `learning.fit`, one trial at a time, from
checkpoints as in `make tune`.

    .venv/bin/python benchmarks/search.py [--seeds 1 2 3 4 5] [--pool 60] [--epochs 9]
"""

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

ROOT = Path(__file__).parents[1]
COARSE = 12  # pixels that become one, to either side
THINNED = {"train.h5": 3, "validation.h5": 1}  # of so many shots one is taken
DRAWN, RANDOM = 2000, 40
SPACE = {
    "train.optimizer.learning_rate": {"low": 0.001, "high": 0.3, "log": True},
    "train.optimizer.momentum": {"low": 0.5, "high": 0.98},
    "train.model.initial_sd": {"low": 0.01, "high": 0.5, "log": True},
    "train.model.blocks.0.channels": {"choices": (4, 8, 16)},
    "train.model.blocks.0.kernel": {"low": 2, "high": 7},
    "train.model.blocks.0.pool": {"choices": ("max", "average")},
    "train.model.hidden.0": {"choices": (8, 16, 32)},
}


def write_coarse(source: Path, path: Path) -> None:
    """Write a prepared file of some of `source`'s shots with coarser frames."""
    from xtcav_ml.config.prepare import BlockMean
    from xtcav_ml.data.prepared import SHOT_COLUMNS, PreparedFile
    from xtcav_ml.data.prepared_writing import write_prepared
    from xtcav_ml.data.shards import SATURATED, SIGNAL, FrameBlock
    from xtcav_ml.science.images import block_mean

    with PreparedFile(source) as prepared:
        steps = (*prepared.spec.preprocessing.steps, BlockMean(step="block_mean", size=COARSE))
        spec = dataclasses.replace(
            prepared.spec, preprocessing=dataclasses.replace(prepared.spec.preprocessing, steps=steps)
        )
        rows = np.arange(0, prepared.shots, THINNED[source.name])
        images = block_mean(prepared.stored(rows).astype(np.float32), COARSE).round()
        columns = {name: prepared.column(name)[rows] for name in (*SHOT_COLUMNS, "source.file", "source.row")}
        columns |= {spec.label or "": prepared.labels[rows]}
        sources = prepared.source_files, columns["source.file"], columns["source.row"]
        block = FrameBlock.of(images.astype(np.int16), prepared.column(SATURATED)[rows], prepared.column(SIGNAL)[rows])
        write_prepared(path, spec, columns, sources, [block])


def network(epochs: int) -> Any:
    """Return section train of the small network."""
    from xtcav_ml.config import params_file

    train = params_file.load_params(ROOT / "params.yaml").train
    block = train.model.blocks[0].model_copy(update={"kernel": 5, "pool_window": 3, "pool_stride": 3})
    model = train.model.model_copy(update={"blocks": (block,)})
    return train.model_copy(update={"epochs": epochs, "threads": 1, "model": model})


class Trainer:
    """Trains section train with other values, up to an epoch, from where it was left, and counts the epochs."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.base, self.spent = folder, network(epochs), 0

    def train(self, number: int, values: dict[str, Any], stop: Callable[[int, float], bool]) -> None:
        """Call `stop` with each epoch and the best score so far, until it returns True; a loss that is not finite ends it."""
        from xtcav_ml.config import space
        from xtcav_ml.data.prepared import PreparedFile
        from xtcav_ml.learning import fit
        from xtcav_ml.learning.checkpoint import Checkpoints
        from xtcav_ml.science import epochs
        from xtcav_ml.system.errors import UserError

        rows: list[dict[str, float]] = []
        trainer = self

        class Listener:
            def on_step(self, *_: Any) -> None: ...

            def on_resume(self, *_: Any) -> None: ...

            def on_epoch(self, epoch: int, row: dict[str, float], seconds: dict[str, float]) -> None:
                rows.append(row)
                trainer.spent += bool(seconds)
                if stop(epoch, max(epochs.scores(rows))):
                    raise fit.StopTraining

        states = Checkpoints(self.folder / "states" / str(number), {"values": json.dumps(values)})
        with PreparedFile(self.folder / "train.h5") as train, PreparedFile(self.folder / "validation.h5") as validation:
            try:
                fit.fit(train, validation, space.applied(self.base, values), [Listener()], states)
            except (fit.StopTraining, UserError):
                return


def tune_params(seed: int, epochs: int, sampler: str, rungs: int) -> Any:
    """Return section tune."""
    from xtcav_ml.config import params_file

    tree = params_file.load_params(ROOT / "params.yaml").tune.model_dump()
    tree |= {"seed": seed, "epochs": epochs, "rungs": rungs, "sampler": sampler, "space": SPACE, "trials": 100_000}
    return params_file.TuneParams.model_validate(tree)


def random_scores(folder: Path, epochs: int, pool: int) -> list[float]:
    """Return the scores of so many random trials that were trained to the end."""
    from xtcav_ml.tuning import samplers

    trainer, tune, scores = Trainer(folder, epochs), tune_params(99, epochs, "random", 0), []
    for number in range(pool):
        scores.append(-np.inf)

        def keep(_: int, score: float) -> bool:
            scores[-1] = score
            return False

        trainer.train(-1 - number, samplers.suggest([optuna.trial.create_trial(value=0.0)] * number, tune).params, keep)
    return scores


def search(folder: Path, epochs: int, seed: int, most: int) -> list[tuple[int, float]]:
    """Return the epochs spent and the score of each trial that reaches its end, until `most` epochs are spent."""
    from xtcav_ml.tuning import rungs, studies

    tune = tune_params(seed, epochs, "tpe", 3)
    at, trainer, found = rungs.stops(epochs, 3), Trainer(folder, epochs), list[tuple[int, float]]()
    study = studies.open_study(tune, {"seed": seed}, folder / f"study-{seed}.db")
    while trainer.spent < most:
        trial = studies.next_trial(study, tune, {})
        known = dict(study.trials[trial.number].intermediate_values)

        def stop(epoch: int, score: float, trial: Any = trial, known: dict[int, float] = known) -> bool:
            if epoch not in known:
                trial.report(score, epoch)
            if epoch < max(known, default=0) or epoch not in at:
                return False
            following = rungs.promoted(study.get_trials(deepcopy=False), at)
            return following is None or following.number != trial.number

        trainer.train(1000 * seed + trial.number, dict(trial.params), stop)
        last = study.trials[trial.number]
        if last.last_step == epochs:
            study.tell(trial, last.intermediate_values[epochs])
            found.append((trainer.spent, last.intermediate_values[epochs]))
        elif last.last_step not in at:
            study.tell(trial, state=TrialState.FAIL)
    return found


def table(pool: list[float], searches: dict[int, list[tuple[int, float]]], epochs: int) -> str:
    """Return in Markdown what was spent to reach the mark."""
    choose = np.random.default_rng(1)
    best = [max(choose.choice(pool, RANDOM, replace=False)) for _ in range(DRAWN)]
    mark, spent = statistics.median(best), RANDOM * epochs
    rows, shares = [], []
    for seed, found in searches.items():
        reached, last = next((used for used, score in found if score >= mark), None), max(score for _, score in found)
        shares.append(np.inf if reached is None else reached / spent)
        rows.append(f"| {seed} | {'never' if reached is None else reached} | {shares[-1]:.2f} | {last:.4f} |")
    head = f"Mark: {mark:.4f}, the median best of {RANDOM} random trials of {epochs} epochs ({spent} epochs).\n\n"
    head += "| seed | epochs to the mark | of random's | best score in the end |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + f"\n\nMedian over the seeds: {statistics.median(shares):.2f} of random's epochs.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--pool", type=int, default=60, help="random trials")
    parser.add_argument("--epochs", type=int, default=9, help="of a trial that is not stopped")
    parser.add_argument("--most", type=int, default=160, help="epochs after which a search ends")
    parser.add_argument(
        "--parts", type=Path, help="folder that keeps what was measured; what it has is not measured again"
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    warnings.simplefilter("ignore")
    from xtcav_ml.learning import backend

    backend.configure(seed=0, threads=1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder, kept = Path(temporary), arguments.parts or Path(temporary)
        for name in ("train.h5", "validation.h5"):
            write_coarse(ROOT / "data/prepared" / name, folder / name)

        def measured(name: str, measure: Callable[[], Any]) -> Any:
            if not (path := kept / f"{name}.json").exists():
                path.write_text(json.dumps(measure()))
            return json.loads(path.read_text())

        searches = {
            seed: measured(f"search-{seed}", lambda seed=seed: search(folder, arguments.epochs, seed, arguments.most))
            for seed in arguments.seeds
        }
        if arguments.pool:
            pool = measured("random", lambda: random_scores(folder, arguments.epochs, arguments.pool))
            print(table(pool, searches, arguments.epochs))


if __name__ == "__main__":
    main()
