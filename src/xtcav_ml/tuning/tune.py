"""tune: Optuna over params.yaml's search space on the prepared training and validation sets; never on the test set.

Each trial trains in a process of its own with `train.seed`, so that the best one is best by its parameters, and `dvc repro`
reaches its score. Every trial is a run in MLflow, a child of the study's.
"""

import fcntl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna import Study, Trial
from optuna.trial import TrialState

from xtcav_ml import figures
from xtcav_ml.config.base import flatten, overridden
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import epochs, rules
from xtcav_ml.lineage import git, lineage, project
from xtcav_ml.lineage.environment import deciding
from xtcav_ml.system import atomic
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.tracker import Run, Tracker
from xtcav_ml.tuning import studies
from xtcav_ml.tuning.live_table import Show, search_table
from xtcav_ml.tuning.trial import train_trial

RUN_STATES = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""MLflow's states of Optuna's: a pruned trial was ended on purpose, a failed one by an error."""

INFEASIBLE = "infeasible: "  # begins the note of a trial that cannot be trained

Ended = tuple[TrialState, float | None, str]
"""State in which a trial ended, its score, and a note on the reason where the state does not show it."""


def run_search(train: TrainParams, tune: TuneParams, data: Path, out: Path) -> None:
    """Resume the study until it has `tune.trials` trials or `tune.minutes` are over; write its results to `out`.

    Raises UserError if prepared data are missing, another tuner is at work, or no trial could be completed.
    """
    base = overridden(train, "train", {"train.epochs": tune.epochs})
    out.mkdir(parents=True, exist_ok=True)
    screen = console()
    with _locked(out / "lock"), PreparedFile(data / "train.h5") as prepared:
        rules.require_trainable(base, prepared.spec, prepared.shots)
        study = studies.open_study(tune, decides(base), out / "study.db")
        screen.print(
            f"tune: study {study.study_name}, {studies.spent(study)} of {tune.trials} trials done, {tune.epochs} epochs each, "
            f"at most {tune.minutes:g} minutes"
        )
        baseline = flatten({"train": base.model_dump(mode="json")})
        if not study.trials and not studies.enqueue_if_inside(study, tune, baseline):
            screen.print("  the parameters of params.yaml lie outside tune.space: no trial for them")
        with Tracker(project.find_root(), identity=study.study_name) as tracker:
            written = _Search(study, base, tune, prepared, tracker).run_trials(out)
    best, score = study.best_trial, "score" if prepared.spec.regression else "accuracy"
    screen.print(f"\nBest: trial {best.number}, validation {score} {best.value:.3f}")
    for name, value in best.params.items():
        screen.print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    screen.print(f"Written: {', '.join(map(str, written))}")
    screen.print(
        "Next: .venv/bin/xtcav promote (writes them to params.yaml), then make repro; make ui shows all trials"
    )


def decides(base: TrainParams) -> dict[str, Any]:
    """Return all that decides the score of a trial but its own parameters: another value is another study."""
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
        self, study: Study, base: TrainParams, tune: TuneParams, prepared: PreparedFile, tracker: Tracker
    ) -> None:
        self.study, self.base, self.tune, self.prepared, self.tracker = study, base, tune, prepared, tracker

    def run_trials(self, out: Path) -> list[Path]:
        """Run trials until the budget is spent, write the results to `out`, and return these files."""
        parent = self._parent_run()
        studies.queue_lost_again(self.study)
        deadline = time.monotonic() + 60 * self.tune.minutes
        status = "FAILED"
        try:
            with search_table(list(self.tune.space), self.tune.minutes) as show:
                while studies.spent(self.study) < self.tune.trials and time.monotonic() < deadline:
                    self._run_trial(parent, show, deadline)
            written = write_results(self.study, self.base, self.tune, out)
            for path in written:
                parent.artifact(path)
            status = "FINISHED"
            return written
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            trials = self.study.get_trials(deepcopy=False)
            if any(trial.state == TrialState.COMPLETE for trial in trials):
                parent.metrics({"best_score": self.study.best_value, "trials": len(trials)}, step=len(trials))
            parent.finish(status)

    def _run_trial(self, parent: Run, show: Show, deadline: float) -> None:
        trial = studies.ask(self.study, self.tune)
        state, value, note = TrialState.FAIL, None, studies.INTERRUPTED
        run = None
        try:
            run = self.tracker.start(f"trial-{trial.number}", {"stage": "trial"}, parent=parent)
            trial.set_user_attr("run_key", run.key)
            run.params(trial.params)
            state, value, note = self._train(trial, run, show, deadline)
        finally:
            if note:
                trial.set_user_attr("note", note)
            self.study.tell(trial, value, state=state)
            if run is not None:
                if note:
                    run.tags({"note": note})
                run.finish("KILLED" if note in studies.LOST else RUN_STATES[state])
            show(studies.begun(self.study))

    def _train(self, trial: Trial, run: Run, show: Show, deadline: float) -> Ended:
        try:
            params = overridden(self.base, "train", trial.params)
            rules.require_trial(params, self.prepared.spec, self.prepared.shots, self.tune.memory_gb)
        except UserError as error:
            return TrialState.PRUNED, None, f"{INFEASIBLE}{error}"
        arguments, subject = (params, self.prepared.path.parent), f"trial {trial.number}"
        training = ChildProcess(train_trial, *arguments, subject=subject, cure="lower tune.memory_gb")
        best = float("-inf")
        try:
            for epoch, values in training:
                best = max(best, epochs.score(values))
                run.metrics({**values, "best_score": best}, step=epoch)
                trial.report(best, epoch)
                show(studies.begun(self.study))
                if epoch < self.tune.epochs and trial.should_prune():
                    training.stop = True
                elif epoch < self.tune.epochs and time.monotonic() > deadline:
                    training.stop = True
                    return TrialState.FAIL, None, studies.TIME_LIMIT
        except UserError as error:
            return TrialState.FAIL, None, str(error)
        finally:
            training.close()
        if training.stop:
            return TrialState.PRUNED, None, ""
        return TrialState.COMPLETE, best, ""

    def _parent_run(self) -> Run:
        """Return the study's run, created on first use."""
        key = self.study.user_attrs.get("run_key", "")
        tags = {"stage": "tune", **{f"git.{name}": value for name, value in git.state().items()}}
        run = self.tracker.start(self.study.study_name, tags, run_key=key)
        if not key:
            run.params(flatten({"train": self.base.model_dump(mode="json"), "tune": self.tune.model_dump(mode="json")}))
            self.study.set_user_attr("run_key", run.key)
        return run


def write_results(study: Study, base: TrainParams, tune: TuneParams, out: Path) -> list[Path]:
    """Write best.json and charts of history and importance; return them. Raises UserError if no trial was completed."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise UserError(_no_trial(study))
    best = study.best_trial
    content = {
        "study": study.study_name,
        "trial": best.number,
        "score": best.value,
        "epochs": tune.epochs,
        "params": best.params,
        "train": flatten({"train": overridden(base, "train", best.params).model_dump(mode="json")}),
    }
    atomic.write_json(out / "best.json", content)
    charts = {"history": figures.search_history([(t.number, t.value, t.state.name) for t in study.trials])}
    if len({trial.value for trial in complete}) > 1:  # importance is a share of the variance
        charts["importance"] = figures.importances(optuna.importance.get_param_importances(study))
    for name, figure in charts.items():
        figures.write_png(out / f"{name}.png", figure)
    return [out / "best.json", *(out / f"{name}.png" for name in charts)]


def _no_trial(study: Study) -> str:
    """Return why no trial was completed, with the cure."""
    notes = [trial.user_attrs.get("note") or trial.state.name for trial in study.trials]
    infeasible = [note.removeprefix(INFEASIBLE) for note in notes if note.startswith(INFEASIBLE)]
    if infeasible and len(infeasible) == len(notes):
        reason, count = Counter(infeasible).most_common(1)[0]
        return f"tune.space: no trial can be trained, {count} of {len(notes)} for one reason: {reason}"
    shown = "; ".join(f"trial {number}: {note}" for number, note in enumerate(notes[:3]))
    cure = "raise tune.minutes" if studies.TIME_LIMIT in notes or not notes else "correct what the trials report"
    return f"tune: no trial was completed (found {len(notes)} others: {shown}, expected at least 1). Fix: {cure}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a tuner; the system releases it when the process ends, however."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{path}: in use (found the lock of another tuner, expected a free lock). Fix: wait until it ends, or stop it"
            ) from None
        yield
