"""tune: Optuna over params.yaml's search space on the prepared training and validation sets; never on the test set.

The study is a SQLite file, named after what decides its values (search space, base parameters, data, code), so that
a call continues the study that an earlier one left, and one with other data or parameters begins its own. A trial whose
tuner was killed does not count and is tried again, at most RETRIES times. Every trial trains with `train.seed`:
what wins then wins by its parameters, and `dvc repro` reaches its score.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from xtcav_ml import atomic, geometry, lineage, plots, tracking
from xtcav_ml.errors import UserError
from xtcav_ml.h5io.prepared import PreparedFile
from xtcav_ml.params.base import flatten, overridden
from xtcav_ml.params.train import TrainParams
from xtcav_ml.params.tune import Choices, Range, TuneParams
from xtcav_ml.progress import console
from xtcav_ml.search_table import Row, SearchTable
from xtcav_ml.trial import Trial

SCORE = "val_accuracy"
INTERRUPTED = "interrupted"
RETRIES = 2
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""Optuna's states as MLflow's: a pruned trial was ended on purpose, a failed one by an error."""


def run(train: TrainParams, tune: TuneParams, data: Path, out: Path) -> None:
    """Go on with the study until it has `tune.trials` trials or `tune.minutes` are over; write what was found to `out`.

    Raises UserError if prepared data are missing, another tuner is at work, or no trial could be completed.
    """
    base = overridden(train, "train", {"train.epochs": tune.epochs})
    out.mkdir(parents=True, exist_ok=True)
    with _only_one(out / "lock"), PreparedFile(data / "train.h5") as prepared:
        shape, classes = prepared.frame_shape, len(prepared.classes)
        geometry.layers(base.model, shape, classes)
        hashes = {name: lineage.file_md5(data / f"{name}.h5") for name in ("train", "validation")}
        study = _study(base, tune, hashes, out)
        _Search(study, base, tune, data, shape, classes).go_on(out)
    report(study, base, tune, out)


def distribution(values: Range | Choices) -> BaseDistribution:
    """Return a dimension of the search space as Optuna has it."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)


class _Search:
    """The loop over trials."""

    def __init__(
        self,
        study: optuna.Study,
        base: TrainParams,
        tune: TuneParams,
        data: Path,
        frame_shape: tuple[int, int],
        classes: int,
    ) -> None:
        self.study, self.base, self.tune, self.data = study, base, tune, data
        self.frame_shape, self.classes = frame_shape, classes
        self.space = {name: distribution(values) for name, values in tune.space.items()}
        self.root = lineage.project_root()

    def go_on(self, out: Path) -> None:
        """Run trials until the budget is spent."""
        parent = self._parent_run()
        self._end_orphans()
        deadline = time.monotonic() + 60 * self.tune.minutes
        status = "FAILED"
        try:
            with SearchTable(list(self.space), self.tune.minutes) as table:
                while spent(self.study) < self.tune.trials and time.monotonic() < deadline:
                    self._one(parent, table, deadline)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            finished = [t.value for t in self.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
            if finished:
                parent.metrics({f"best_{SCORE}": max(finished), "trials": len(self.study.trials)})
            parent.finish(status)

    def _one(self, parent: tracking.Run, table: SearchTable, deadline: float) -> None:
        # Optuna does not store its sampler's random state: one seeded by the trial's number suggests the same after
        # an interruption as without
        begun = self.study.get_trials(deepcopy=False)
        number = sum(trial.state != TrialState.WAITING for trial in begun)
        self.study.sampler = optuna.samplers.TPESampler(
            seed=_number_from(self.tune.seed, number), n_startup_trials=self.tune.startup_trials
        )
        trial = self.study.ask(self.space)
        run = tracking.Run.start(self.root, f"trial-{trial.number}", {"stage": "trial"}, parent=parent.run_id)
        trial.set_user_attr("run_id", run.run_id)
        run.params(trial.params)
        state, value, note = TrialState.FAIL, None, INTERRUPTED
        try:
            state, value, note = self._train(trial, run, table, deadline)
        finally:
            if note:
                trial.set_user_attr("note", note)
                run.tags({"note": note})
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
            run.finish("KILLED" if note == INTERRUPTED else STATUS[state])
            table.show(self._rows())

    def _train(
        self, trial: optuna.Trial, run: tracking.Run, table: SearchTable, deadline: float
    ) -> tuple[TrialState, float | None, str]:
        """Return the state the trial ended in, its score, and a note on why where that is not plain."""
        try:
            params = overridden(self.base, "train", trial.params)
            self._require_feasible(params)
        except UserError as error:
            return TrialState.PRUNED, None, f"infeasible: {error}"
        training, best = Trial(params, self.data), 0.0
        try:
            for epoch in training:
                best = max(best, epoch.values[SCORE])
                run.metrics({**epoch.values, f"best_{SCORE}": best}, step=epoch.number)
                trial.report(best, epoch.number)
                table.show(self._rows())
                if epoch.number < self.tune.epochs and trial.should_prune():
                    training.stop = True
                elif time.monotonic() > deadline and epoch.number < self.tune.epochs:
                    training.stop = True
                    return TrialState.PRUNED, None, "time limit (tune.minutes)"
        except UserError as error:
            return TrialState.FAIL, None, str(error)
        finally:
            training.close()
        if training.stop:
            return TrialState.PRUNED, None, ""
        return TrialState.COMPLETE, best, ""

    def _require_feasible(self, params: TrainParams) -> None:
        layers = geometry.layers(params.model, self.frame_shape, self.classes)
        needed = geometry.step_memory(layers, params.batch_size) / 1e9
        if needed > self.tune.memory_gb:
            raise UserError(
                f"a training step needs about {needed:.1f} GB, more than tune.memory_gb {self.tune.memory_gb:g}"
            )

    def _rows(self) -> list[Row]:
        return [
            Row(
                trial.number,
                trial.state.name.lower(),
                max(trial.intermediate_values.values(), default=None),
                max(trial.intermediate_values, default=0),
                trial.params,
                trial.user_attrs.get("note", ""),
            )
            for trial in self.study.trials
            if trial.state != TrialState.WAITING
        ]

    def _parent_run(self) -> tracking.Run:
        """Return the study's run, made on first use."""
        known = self.study.user_attrs.get("run_id")
        run = tracking.Run.resume(self.root, known) if known else None
        if run is None:
            tags = {"stage": "tune", **{f"git.{name}": value for name, value in lineage.git_state().items()}}
            run = tracking.Run.start(self.root, self.study.study_name, tags)
            run.params(flatten({"train": self.base.model_dump(mode="json"), "tune": self.tune.model_dump(mode="json")}))
            self.study.set_user_attr("run_id", run.run_id)
        return run

    def _end_orphans(self) -> None:
        """End what a killed tuner left RUNNING (the lock says that no other is at work), and queue it again."""
        for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(left.number, state=TrialState.FAIL)
            if "run_id" in left.user_attrs:
                orphan = tracking.Run.resume(self.root, left.user_attrs["run_id"])
                if orphan is not None:
                    orphan.finish("KILLED")
        trials = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("retry_of") for trial in trials}
        for lost in (trial for trial in trials if interrupted(trial) and trial.number not in again):
            retries = lost.user_attrs.get("retries", 0)
            if retries < RETRIES:
                self.study.enqueue_trial(lost.params, {"retry_of": lost.number, "retries": retries + 1})


def interrupted(trial: FrozenTrial) -> bool:
    """Return whether a trial ended because its tuner did: a note says of every other failure what it was."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("note") in (None, INTERRUPTED)


def spent(study: optuna.Study) -> int:
    """Return how many trials count against the budget: all that were begun and not interrupted."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state != TrialState.WAITING and not interrupted(trial) for trial in trials)


def report(study: optuna.Study, base: TrainParams, tune: TuneParams, out: Path) -> None:
    """Write best.json, and pictures of history and importance; say where. Raises UserError if no trial was completed."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise UserError(
            f"tune: at least one of {len(study.trials)} trials must complete, got none ({_notes(study.trials)}); "
            "give it more tune.minutes, or narrow tune.space"
        )
    best = study.best_trial
    atomic.write_json(
        out / "best.json",
        {
            "study": study.study_name,
            "trial": best.number,
            SCORE: best.value,
            "epochs": tune.epochs,
            "params": best.params,
            "train": flatten({"train": overridden(base, "train", best.params).model_dump(mode="json")}),
        },
    )
    plots.search_history(out / "history.png", [(trial.number, trial.value, trial.state.name) for trial in study.trials])
    pictures = [out / "history.png"]
    if len({trial.value for trial in complete}) > 1:  # importance is a share of the variance
        plots.importances(out / "importance.png", optuna.importance.get_param_importances(study))
        pictures.append(out / "importance.png")
    run = tracking.Run.resume(lineage.project_root(), study.user_attrs["run_id"])
    if run is not None:
        for path in (*pictures, out / "best.json"):
            run.artifact(path)
        run.finish()
    screen = console()
    screen.print(f"\nBest: trial {best.number}, validation accuracy {best.value:.3f}")
    for name, value in best.params.items():
        screen.print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    screen.print(f"Written to {out}/best.json; plots {', '.join(path.name for path in pictures)}")
    screen.print(
        "Next: .venv/bin/xtcav promote (puts them into params.yaml), then make repro; make ui shows all trials"
    )


def _study(base: TrainParams, tune: TuneParams, hashes: dict[str, str], out: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: values.model_dump(mode="json") for name, values in tune.space.items()}
    code = lineage.of_stage("train").code
    decides = json.dumps([base.model_dump(mode="json"), space, tune.seed, tune.epochs, hashes, code], sort_keys=True)
    name = f"{tune.study}-{hashlib.sha256(decides.encode()).hexdigest()[:8]}"
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{(out / 'study.db').resolve()}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.warmup_epochs),
    )
    console().print(
        f"tune: study {name}, {spent(study)} of {tune.trials} trials done, {tune.epochs} epochs each, "
        f"at most {tune.minutes:g} minutes"
    )
    if not study.trials:
        baseline = {dim: flatten({"train": base.model_dump(mode="json")})[dim] for dim in space}
        if all(_contains(values, baseline[dim]) for dim, values in tune.space.items()):
            study.enqueue_trial(baseline)
        else:
            console().print("  the parameters of params.yaml lie outside tune.space: no trial for them")
    return study


def _contains(values: Range | Choices, value: Any) -> bool:
    if isinstance(values, Choices):
        return value in values.choices
    on_grid = values.step is None or (value - values.low) % values.step == 0
    return bool(values.low <= value <= values.high) and on_grid


def _number_from(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr((seed, number)).encode(), digest_size=4).digest(), "big")


def _notes(trials: list[FrozenTrial]) -> str:
    return "; ".join(
        f"trial {trial.number}: {trial.user_attrs.get('note') or trial.state.name}" for trial in trials[:3]
    )


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the lock that says a tuner is at work here; the system lets go of it when the process ends, however."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{path}: one tuner at a time works on a study, got a second; wait for the first to end"
            ) from None
        yield
