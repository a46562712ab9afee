"""tune: Optuna over params.yaml's search space on the prepared training and validation sets; never on the test set.

Each trial trains in a process of its own with `train.seed`: what wins then wins by its parameters, and `dvc repro`
reaches its score. Every trial is a run in MLflow, a child of the study's.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xtcav_ml import figures
from xtcav_ml.config.base import flatten, overridden
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import epochs, layer_plan, rules
from xtcav_ml.lineage import git, lineage
from xtcav_ml.lineage.environment import deciding
from xtcav_ml.system import atomic
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.tracker import Run, Tracker
from xtcav_ml.tuning import studies
from xtcav_ml.tuning.live_table import Row, SearchTable
from xtcav_ml.tuning.studies import FrozenTrial, Study, TrialState
from xtcav_ml.tuning.trial import train_trial

SCORE = "score"
"""What epochs.score says: the validation accuracy, unless numbers are learned."""

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""Optuna's states as MLflow's: a pruned trial was ended on purpose, a failed one by an error."""


def run(train: TrainParams, tune: TuneParams, data: Path, out: Path) -> None:
    """Go on with the study until it has `tune.trials` trials or `tune.minutes` are over; write what was found to `out`.

    Raises UserError if prepared data are missing, another tuner is at work, or no trial could be completed.
    """
    base = overridden(train, "train", {"train.epochs": tune.epochs})
    out.mkdir(parents=True, exist_ok=True)
    with _only_one(out / "lock"), PreparedFile(data / "train.h5") as prepared:
        rules.require_trainable(base, prepared.meaning, prepared.shots)
        study = studies.open_study(tune, decides(base), out / "study.db")
        console().print(
            f"tune: study {study.study_name}, {studies.spent(study)} of {tune.trials} trials done, {tune.epochs} epochs each, "
            f"at most {tune.minutes:g} minutes"
        )
        if not study.trials and not studies.enqueue_if_inside(
            study, tune, flatten({"train": base.model_dump(mode="json")})
        ):
            console().print("  the parameters of params.yaml lie outside tune.space: no trial for them")
        with Tracker(lineage.project_root(), identity=study.study_name) as tracker:
            written = _Search(study, base, tune, prepared, tracker).go_on(out)
    say(study, written, layer_plan.Ends.of(prepared.meaning))


def decides(base: TrainParams) -> dict[str, Any]:
    """Return what decides the score of a trial, beside what it tries: a study with another of these is another study."""
    origin = lineage.of_stage("train")
    return {
        "base": base.model_dump(mode="json"),
        "data": origin.data,
        "code": origin.code.fingerprint,
        "environment": deciding([*origin.code.libraries, "optuna"]),
    }


class _Search:
    """The loop over trials."""

    def __init__(
        self,
        study: Study,
        base: TrainParams,
        tune: TuneParams,
        prepared: PreparedFile,
        tracker: Tracker,
    ) -> None:
        self.study, self.base, self.tune, self.tracker = study, base, tune, tracker
        self.prepared, self.data = prepared, prepared.path.parent

    def go_on(self, out: Path) -> list[Path]:
        """Run trials until the budget is spent, write what was found to `out`, and return which files that are."""
        parent = self._parent_run()
        studies.queue_lost_again(self.study)
        deadline = time.monotonic() + 60 * self.tune.minutes
        status = "FAILED"
        try:
            with SearchTable(list(self.tune.space), self.tune.minutes) as table:
                while studies.spent(self.study) < self.tune.trials and time.monotonic() < deadline:
                    self._one(parent, table, deadline)
            written = report(self.study, self.base, self.tune, out)
            for path in written:
                parent.artifact(path)
            status = "FINISHED"
            return written
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            finished = [t.value for t in self.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
            if finished:
                trials = len(self.study.trials)
                parent.metrics({f"best_{SCORE}": max(finished), "trials": trials}, step=trials)
            parent.finish(status)

    def _one(self, parent: Run, table: SearchTable, deadline: float) -> None:
        trial = studies.ask(self.study, self.tune)
        state, value, note = TrialState.FAIL, None, studies.INTERRUPTED
        run = None
        try:
            run = self.tracker.start(f"trial-{trial.number}", {"stage": "trial"}, parent=parent)
            trial.set_user_attr("run_key", run.key)
            run.params(trial.params)
            state, value, note = self._train(trial, run, table, deadline)
        finally:
            if note:
                trial.set_user_attr("note", note)
            self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
            if run is not None:
                if note:
                    run.tags({"note": note})
                run.finish("KILLED" if note in studies.LOST else STATUS[state])
            table.show(self._rows())

    def _train(
        self, trial: studies.Trial, run: Run, table: SearchTable, deadline: float
    ) -> tuple[TrialState, float | None, str]:
        """Return the state the trial ended in, its score, and a note on why where that is not plain."""
        try:
            params = overridden(self.base, "train", trial.params)
            self._require_feasible(params)
        except UserError as error:
            return TrialState.PRUNED, None, f"infeasible: {error}"
        cure = "lower tune.memory_gb"
        training = ChildProcess(train_trial, params, self.data, subject=f"trial {trial.number}", cure=cure)
        best = float("-inf")
        try:
            for epoch in training:
                best = max(best, epochs.score(epoch.values))
                run.metrics({**epoch.values, f"best_{SCORE}": best}, step=epoch.number)
                trial.report(best, epoch.number)
                table.show(self._rows())
                if epoch.number < self.tune.epochs and trial.should_prune():
                    training.stop = True
                elif time.monotonic() > deadline and epoch.number < self.tune.epochs:
                    training.stop = True
                    return TrialState.FAIL, None, studies.TIME_LIMIT
        except UserError as error:
            return TrialState.FAIL, None, str(error)
        finally:
            training.close()
        if training.stop:
            return TrialState.PRUNED, None, ""
        return TrialState.COMPLETE, best, ""

    def _require_feasible(self, params: TrainParams) -> None:
        meaning = self.prepared.meaning
        rules.require_data(params, meaning, self.prepared.shots)
        rules.require_network(params, layer_plan.Ends.of(meaning), 1e9 * self.tune.memory_gb)

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

    def _parent_run(self) -> Run:
        """Return the study's run, made on first use."""
        known = self.study.user_attrs.get("run_key")
        tags = {"stage": "tune", **{f"git.{name}": value for name, value in git.state().items()}}
        run = self.tracker.start(self.study.study_name, tags, run_key=known)
        if known is None:
            run.params(flatten({"train": self.base.model_dump(mode="json"), "tune": self.tune.model_dump(mode="json")}))
            self.study.set_user_attr("run_key", run.key)
        return run


def report(study: Study, base: TrainParams, tune: TuneParams, out: Path) -> list[Path]:
    """Write best.json, and pictures of history and importance; return them. Raises UserError if no trial was completed."""
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
    trials = [(trial.number, trial.value, trial.state.name) for trial in study.trials]
    figures.write_png(out / "history.png", figures.search_history(trials))
    written = [out / "best.json", out / "history.png"]
    if len({trial.value for trial in complete}) > 1:  # importance is a share of the variance
        figures.write_png(out / "importance.png", figures.importances(studies.importances(study)))
        written.append(out / "importance.png")
    return written


def say(study: Study, written: list[Path], ends: layer_plan.Ends) -> None:
    """Print what was found, and what to do with it."""
    screen, best = console(), study.best_trial
    screen.print(f"\nBest: trial {best.number}, validation {'score' if ends.numbers else 'accuracy'} {best.value:.3f}")
    for name, value in best.params.items():
        screen.print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    screen.print(f"Written: {', '.join(map(str, written))}")
    screen.print(
        "Next: .venv/bin/xtcav promote (puts them into params.yaml), then make repro; make ui shows all trials"
    )


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
