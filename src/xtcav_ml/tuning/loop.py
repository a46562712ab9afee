"""The loop over the trials of a search: what runs next, where it waits, how it ends, and what its run in MLflow says."""

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from optuna import Study, Trial
from optuna.trial import FrozenTrial, TrialState

from xtcav_ml.config import space
from xtcav_ml.config.space import Values
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import rules
from xtcav_ml.lineage import git
from xtcav_ml.science import epochs
from xtcav_ml.system import interrupts
from xtcav_ml.system.child_process import ChildProcess, Killed
from xtcav_ml.system.errors import DiskFull, UserError
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.logged_params import logged_params
from xtcav_ml.tracking.tracker import Run, Tracker
from xtcav_ml.tuning import (
    costs,
    objectives,
    outcome,
    repeats,
    rungs,
    states,
    studies,
    warm,
)
from xtcav_ml.tuning.description import description
from xtcav_ml.tuning.live_table import Show, search_table
from xtcav_ml.tuning.trial import imported, train_trial
from xtcav_ml.tuning.verdict import ACCURACY

RUN_STATES = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""MLflow's states of Optuna's: a pruned trial was ended on purpose, a failed one by an error."""

STARTS = 10
"""Processes that may be killed one after the other without an epoch between: the trial's parameters may be the reason."""

CHECKPOINTS = "checkpoints"  # of the trial that runs, beside the study

Ended = tuple[TrialState, Sequence[float] | None, str]
"""State in which a trial ended, its score and costs, and why where the state does not show it. None: it waits."""


WAITS = "KILLED"  # in MLflow, of a trial that waits at a rung: it may go on, as an interrupted one


class OutOfTime(Exception):
    """The time limit came while a trial ran."""


class Search:
    """The loop over trials. A request to stop is raised while a trial trains, and held back while the study changes."""

    def __init__(
        self,
        study: Study,
        base: TrainParams,
        tune: TuneParams,
        prepared: PreparedFile,
        tracker: Tracker,
        out: Path,
        seeds: Sequence[int] = (),
    ) -> None:
        self.study, self.base, self.tune, self.prepared, self.tracker = study, base, tune, prepared, tracker
        self.seeds = seeds
        self.out, self.checkpoints = out, out / CHECKPOINTS / study.study_name
        self.deadline = time.monotonic() + 60 * tune.minutes

    @property
    def baseline(self) -> Values:
        """Return the values of params.yaml."""
        return space.values_of(self.base, self.tune.space)

    @property
    def stops(self) -> tuple[int, ...]:
        """Return the epochs of the rungs."""
        return rungs.stops(self.tune.epochs, self.tune.rungs)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, not to be changed."""
        return list(self.study.get_trials(deepcopy=False))

    @interrupts.held()
    def run_trials(self) -> list[Path]:
        """Run trials until the budget is spent, write the results to `out`, and return these files."""
        parent = self._parent_run()
        if not self.study.trials and not space.inside(self.tune.space, self.baseline):
            console().print("  the parameters of params.yaml lie outside tune.space: no trial for them")
        status = "FAILED"
        try:
            with (
                search_table(list(self.tune.space), self.tune.minutes, self.tune.trials, self.stops) as show,
                contextlib.suppress(OutOfTime),
            ):
                self._search(parent, show)
                self._finish(parent, show)
            written = outcome.write(self.study, self.base, self.tune, outcome.score_name(self.prepared.spec), self.out)
            for path in written:
                parent.artifact(path)
            status = "FINISHED"
            return written
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            trials = studies.ended(self.study)
            if (best := studies.best(self.study)) is not None:
                parent.metrics({"best_score": objectives.score(best), "trials": len(trials)}, step=len(trials))
            self._describe(parent)
            parent.finish(status)

    def _search(self, parent: Run, show: Show) -> None:
        """Run trials until no one may begin or go on. Raises OutOfTime."""
        while not studies.is_spent(self.study, self.tune):
            if time.monotonic() >= self.deadline:
                raise OutOfTime
            self._run_trial(studies.next_trial(self.study, self.tune, self.baseline), parent, show)

    def _run_each(self, begun: Iterator[Trial], parent: Run, show: Show) -> None:
        """Train each of these trials to its end."""
        for trial in begun:
            self._run_trial(trial, parent, show, to_end=True)

    def _run_trial(self, trial: Trial, parent: Run, show: Show, to_end: bool = False) -> None:
        """Train a trial until it ends, or until it has to wait at a rung, if not `to_end`."""
        run, status = self._trial_run(trial, parent), WAITS
        try:
            run.params(trial.params)
            show(self.trials(), trial.number, {trial.number: ""})
            if (ended := self._train(trial, run, show, to_end)) is not None:
                state, values, note = ended
                self._tell(trial, run, state, values, note)
                status = RUN_STATES[state]
        finally:
            if status == WAITS:
                self._tag(run, trial)
            run.finish(status)
            show(self.trials(), trial.number)
        interrupts.require_none()

    def _trial_run(self, trial: Trial, parent: Run) -> Run:
        """Return the run of a trial, created on first use."""
        key = trial.user_attrs["run_key"]
        tags = {"stage": "trial", **warm.tags(trial.user_attrs)}
        if (of := trial.user_attrs.get(rungs.CONTINUES)) is not None:
            tags[rungs.CONTINUES] = f"trial {of}"
        return self.tracker.start(f"trial-{trial.number}", tags, parent=parent, run_key=key)

    def _tell(self, trial: Trial, run: Run, state: TrialState, values: Sequence[float] | None, note: str) -> None:
        """End a trial in the study, with a `note` on the reason."""
        if note:
            trial.set_user_attr(states.NOTE, note)
        self.study.tell(trial, values, state=state)
        self._tag(run, trial)
        shutil.rmtree(self._states(trial), ignore_errors=True)

    def _tag(self, run: Run, trial: Trial) -> None:
        """Let the run of a trial say its state in the study and the reason."""
        run.tags(states.tags(self.trials()[trial.number], self.stops))

    def _states(self, trial: Trial) -> Path:
        """Return the folder of a trial's checkpoints: those of others in the same one would be removed."""
        return Path(self.checkpoints, str(trial.number))

    def _finish(self, parent: Run, show: Show) -> None:
        """Repeat the best trials with other seeds, train the winner to the end, then end the trials that still wait."""
        for waiting in rungs.searched(self.trials()):
            if waiting.state == TrialState.RUNNING and rungs.CLOSED not in waiting.user_attrs:
                studies.continued(self.study, waiting).set_user_attr(rungs.CLOSED, waiting.last_step)
        self._repeat(parent, show)
        sure, trained = repeats.judge(self.trials()), set[int]()
        if sure is not None:
            trained.add(self._train_on(sure.number, parent, show))
        while (best := rungs.leader(rungs.reopened(self.trials(), trained))) is not None and (
            best.state == TrialState.RUNNING
        ):
            trained.add(self._train_on(best.number, parent, show))
        for waiting in self.trials():
            if waiting.state == TrialState.RUNNING:
                trial, why = (
                    studies.continued(self.study, waiting),
                    rungs.why_stopped(rungs.searched(self.trials()), waiting),
                )
                run = self._trial_run(trial, parent)
                self._tell(trial, run, TrialState.PRUNED, None, why)
                run.finish(RUN_STATES[TrialState.PRUNED])
                show(self.trials(), trial.number)

    def _train_on(self, number: int, parent: Run, show: Show) -> int:
        """Train a trial to its end, if it waits, or waited when an earlier search was finished; return its number then."""
        trial = studies.continued(self.study, self.trials()[number])
        if self.trials()[number].state == TrialState.PRUNED:
            (then,) = (one for one in rungs.reopened(self.trials()) if one.number == number)
            trial = studies.going_on(self.study, then)
            trial.set_user_attr(rungs.CLOSED, then.last_step)
        if self.trials()[trial.number].state == TrialState.RUNNING:
            self._run_each(iter([trial]), parent, show)
        return int(trial.number)

    def _repeat(self, parent: Run, show: Show) -> None:
        """Train params.yaml and the best trials with each of the seeds."""
        found = outcome.finalists(self.study, self.tune)
        others = [trial for trial in found if trial.params != self.baseline]
        if others and self.seeds:
            console().print(
                f"  repeated with {len(self.seeds)} seeds: params.yaml, {', '.join(f'trial {one.number}' for one in others)}"
            )
        self._run_each(self._repeated([None, *others] if others else []), parent, show)

    def _repeated(self, trials: Sequence[FrozenTrial | None]) -> Iterator[Trial]:
        """Yield the repeats of these trials (None: params.yaml) that have not ended; each is begun when it is its turn."""
        for seed in self.seeds:
            for of in trials:
                repeated = repeats.begin(self.study, of, seed)
                if repeated.state == TrialState.RUNNING:
                    yield studies.continued(self.study, repeated)

    def _params(self, trial: Trial) -> TrainParams | Ended:
        """Return what a trial trains with, or, if that cannot be trained, its end."""
        try:
            params = space.applied(self.base, trial.params)
            params = params.model_copy(update={"seed": trial.user_attrs.get(rungs.SEED, params.seed)})
            rules.require_trial(params, self.prepared.spec, self.prepared.shots, self.tune.memory_gb)
        except UserError as error:
            trial.set_constraint("fits", 1.0)
            return TrialState.PRUNED, None, f"{states.INFEASIBLE}{error}"
        return params

    def _train(self, trial: Trial, run: Run, show: Show, to_end: bool) -> Ended | None:
        """Train to the end, in another process if one is killed. Raises OutOfTime and, if the disk is full, UserError."""
        params = self._params(trial)
        if not isinstance(params, TrainParams):
            return params
        starts = 0
        while True:
            before = reported(trial)
            try:
                return self._train_in_process(trial, params, run, show, to_end)
            except Killed as error:
                starts = 1 if len(reported(trial)) > len(before) else starts + 1
                if starts == STARTS:
                    return TrialState.FAIL, None, str(error)
                console().print(f"  trial {trial.number}: its process was killed, another continues")
            except DiskFull:
                raise
            except UserError as error:
                return TrialState.FAIL, None, str(error)

    def _train_in_process(self, trial: Trial, params: TrainParams, run: Run, show: Show, to_end: bool) -> Ended | None:
        """Report each epoch to the study, once, and decide after it. Epochs before the last reported one were decided."""
        if measured := costs.measure(trial, self.tune.objectives, params, self.prepared):
            run.metrics(measured, step=0)
        arguments, subject = (params, self.prepared.path.parent, self._states(trial)), f"trial {trial.number}"
        training = ChildProcess(
            train_trial, *arguments, subject=subject, cure="lower tune.memory_gb", imported=imported()
        )
        rows, known = list[dict[str, float]](), reported(trial)
        try:
            for epoch, values in training:
                rows.append(values)
                if epoch not in known:
                    self._report(trial, run, epoch, rows)
                if epoch >= max(known, default=0) and not to_end:
                    training.stop = self._has_to_wait(trial, epoch)
                if epoch not in self.stops:
                    show(self.trials(), trial.number)
        finally:
            training.close()
        if training.stop:
            return None
        return self._completed(trial, rows, training.result)

    def _report(self, trial: Trial, run: Run, epoch: int, rows: Sequence[dict[str, float]]) -> None:
        """Report an epoch of a trial, the last of `rows`, to its run and to the study."""
        best = max(epochs.scores(rows))
        run.metrics({**rows[-1], "best_score": best}, step=epoch)
        studies.report(trial, best, epoch)

    def _completed(self, trial: Trial, rows: Sequence[dict[str, float]], shots: list[float] | None) -> Ended:
        """Return the end of a trial of these epochs, of which the best one scores `shots`."""
        if shots is not None:
            trial.set_user_attr(repeats.SHOTS, shots)
        trial.set_user_attr(ACCURACY, rows[epochs.best(rows) - 1].get(ACCURACY))
        return TrialState.COMPLETE, [max(epochs.scores(rows)), *costs.kept(trial, self.tune.objectives).values()], ""

    def _has_to_wait(self, trial: Trial, epoch: int) -> bool:
        """Return whether a trial stops at a rung after this epoch. Raises OutOfTime if it may not go on to the next epoch."""
        following = rungs.promoted(rungs.reopened(self.trials()), self.stops) if epoch in self.stops else None
        if epoch in self.stops and (following is None or following.number != trial.number):
            return True
        if epoch < self.tune.epochs and time.monotonic() > self.deadline:
            raise OutOfTime
        return False

    def _parent_run(self) -> Run:
        """Return the study's run, created on first use; the budget is a tag, since MLflow lets no parameter change."""
        if "run_key" not in self.study.user_attrs:
            self.study.set_user_attr("run_key", uuid.uuid4().hex)
        tags = {"stage": "tune", **{f"git.{name}": value for name, value in git.state().items()}}
        tags |= {f"tune.{name}": str(getattr(self.tune, name)) for name in sorted(studies.BUDGET)} | warm.tags(
            self.study.user_attrs
        )
        run = self.tracker.start(self.study.study_name, tags, run_key=self.study.user_attrs["run_key"])
        rules = self.tune.model_dump(mode="json", exclude=studies.BUDGET)
        run.params(
            logged_params({"train": self.base.model_dump(mode="json"), "tune.space": rules.pop("space"), "tune": rules})
        )
        self._describe(run)
        return run

    def _describe(self, run: Run) -> None:
        text = description(
            self.study,
            self.tune,
            self.baseline,
            outcome.score_name(self.prepared.spec),
            git.state()["commit"],
            outcome.said(self.out, self.study),
        )
        run.tags({"mlflow.note.content": text})


def reported(trial: Trial) -> dict[int, float]:
    """Return the scores that the study has of a trial, by epoch."""
    return dict(trial.study.trials[trial.number].intermediate_values)
