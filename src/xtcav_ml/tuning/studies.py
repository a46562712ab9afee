"""Optuna studies that an interruption at any moment leaves as if there had been none.

A study is named by all that decides it: a later call continues it, and a call with other data, code or parameters starts its
own. A trial enters it whole, in one step, and leaves it whole. One that is running has been interrupted, and is continued, or
waits at a rung.
"""

import contextlib
import hashlib
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna import Study, Trial
from optuna.exceptions import OptunaError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from xtcav_ml.config import space
from xtcav_ml.config.space import Values
from xtcav_ml.config.tune import MEMORY, MILLISECONDS, TuneParams
from xtcav_ml.system import atomic, errors, interrupts
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import told
from xtcav_ml.tuning import costs, objectives, rungs, samplers, storage, warm

KEPT = (warm.BORROWED, MILLISECONDS, MEMORY, costs.LAYERS)
"""User attributes of a trial that hold for one that continues it, too."""

LOCKED_SECONDS = 120.0  # for which another process may lock the file of a study

BUDGET = {"trials", "minutes", "memory_gb", "best", "seeds"}
"""What of `tune` may grow or be corrected in the same study."""


def open_study(tune: TuneParams, decides: Mapping[str, Any], path: Path) -> Study:
    """Return the study for these rules of the search and `decides`; create it on first use.

    It is in the SQLite file `path`, unless the user named another place: see `storage.place`, whose errors it raises.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = storage.place(path)
    _make(where)
    text = json.dumps([decides, tune.model_dump(mode="json", exclude={"study", *BUDGET})], sort_keys=True)
    return optuna.create_study(
        study_name=f"{tune.study}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        storage=_storage(where),
        directions=objectives.directions(tune.objectives),
        load_if_exists=True,
        sampler=RandomSampler(seed=0),  # never asked: see `samplers`
        pruner=optuna.pruners.NopPruner(),  # see `rungs`
    )


def _make(where: storage.Place) -> None:
    """Make the tables of a database that has none, which Optuna does in many steps."""
    if isinstance(where, Path) and where.exists():
        return
    with storage.making(where):
        if isinstance(where, Path):
            if not where.exists():
                with atomic.replacing(where) as temporary:
                    _storage(temporary).engine.dispose()
        else:
            _storage(where).engine.dispose()


def latest(path: Path) -> int | None:
    """Return the number by which Optuna's dashboard knows the newest of the studies; None if there is none."""
    return max((study._study_id for study in _storage(storage.place(path)).get_all_studies()), default=None)


def next_trial(study: Study, tune: TuneParams, baseline: Values, busy: Collection[int] = ()) -> Trial:
    """Return the trial that goes on or else begins next, beside those with a number in `busy`.

    The first is `baseline` (dotted names), if that lies in the search space.
    """
    trials, at = rungs.reopened(study.get_trials(deepcopy=False)), rungs.stops(tune.epochs, tune.rungs)
    following = rungs.to_continue(trials, at, busy)
    if following is not None:
        return going_on(study, following)
    study.add_trial(_begun(trials, tune, baseline, study.user_attrs.get(warm.BORROWED, [])))
    return continued(study, study.get_trials(deepcopy=False)[-1])


def going_on(study: Study, trial: FrozenTrial) -> Trial:
    """Return a trial that waits, to report to; of one that an earlier search was finished with, another that continues it.

    Optuna changes no trial that has ended. The new one is trained from the start, to the same bits.
    """
    if rungs.CLOSED not in trial.user_attrs:
        return continued(study, trial)
    kept = {name: trial.user_attrs[name] for name in KEPT if name in trial.user_attrs}
    found = create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values=trial.intermediate_values,
        user_attrs={**kept, rungs.CONTINUES: rungs.origin(trial), "run_key": uuid.uuid4().hex},
        system_attrs=trial.system_attrs,
    )
    study.add_trial(found)
    return continued(study, study.get_trials(deepcopy=False)[-1])


def is_spent(study: Study, tune: TuneParams, busy: Collection[int] = ()) -> bool:
    """Return whether no trial may begin or go on to its next rung, beside those with a number in `busy`."""
    trials = rungs.reopened(study.get_trials(deepcopy=False))
    return len(trials) >= tune.trials and rungs.to_continue(trials, rungs.stops(tune.epochs, tune.rungs), busy) is None


def continued(study: Study, trial: FrozenTrial) -> Trial:
    """Return a trial that an earlier process began, or this one, to report to: Optuna has nothing public that does."""
    return Trial(study, trial._trial_id)


def report(trial: Trial, score: float, epoch: int) -> None:
    """Keep the best score so far after an epoch; Optuna's own `report` refuses to for several objectives."""
    if len(trial.study.directions) == 1:
        trial.report(score, epoch)
    else:
        trial.study._storage.set_trial_intermediate_value(trial._trial_id, epoch, score)


def _begun(
    before: list[FrozenTrial], tune: TuneParams, baseline: Values, borrowed: Sequence[warm.Borrowed]
) -> FrozenTrial:
    tried = {name: baseline[name] for name in baseline if name in tune.space}
    if not before and space.inside(tune.space, tried):
        laws = {name: samplers.distribution(tune.space[name]) for name in tried}
        found = create_trial(state=TrialState.RUNNING, params=tried, distributions=laws)
    elif warm.follows(borrowed, tune, len(before)):
        found = warm.suggest(borrowed, tune, before)
    else:
        found = samplers.suggest(before, tune)
    return create_trial(
        state=TrialState.RUNNING,
        params=found.params,
        distributions=found.distributions,
        user_attrs={**found.user_attrs, "run_key": uuid.uuid4().hex},
        system_attrs=found.system_attrs,
    )


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that have ended, which are those that count against the budget: not those that repeat others."""
    return [trial for trial in rungs.searched(study.get_trials(deepcopy=False)) if trial.state.is_finished()]


def best(study: Study) -> FrozenTrial | None:
    """Return the best of the completed trials; None of none. Of equal ones the first."""
    complete = [trial for trial in ended(study) if trial.state == TrialState.COMPLETE]
    return max(complete, key=objectives.score, default=None)


def front(study: Study) -> list[FrozenTrial]:
    """Return the trials of the search that no other one beats in all objectives, the best score first."""
    return objectives.front(ended(study))


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raise UserError if the file of a study is damaged, or locked by another process for longer than LOCKED_SECONDS."""
    try:
        yield
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:  # the last of these: of another version of Optuna
        if full := errors.disk_full(error, path):
            raise full from None
        why = errors.reason(error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error)
        if not isinstance(where := storage.place(path), Path):
            raise UserError(
                f"{storage.VARIABLE}: not usable (found {why!r} at {storage.named(where)}, expected a PostgreSQL). Fix: "
                "start it, or unset the variable"
            ) from None
        if errors.LOCKED in why:
            problem, cure = "in use", "end the process that locks it"
        else:
            problem, cure = "damaged", "move it away, since a new search can begin"
        raise UserError(
            f"{path if where == path.absolute() else where}: {problem} (found {why!r}, expected Optuna's database). Fix: "
            f"{cure}, then run `make tune`"
        ) from None


def _patiently(call: Callable[..., Any], *arguments: Any) -> None:
    """Call SQLite again while another process locks the file, and tell so; a request to stop ends that."""
    deadline = time.monotonic() + LOCKED_SECONDS
    if _answered(call, arguments, deadline):  # as thousands are of a search: to watch each takes longer than it does
        return
    with told("tune: waits for another process, which has locked the study"):
        while True:
            if interrupts.pending():  # nothing was changed yet
                interrupts.require_none()
            if _answered(call, arguments, deadline):
                return


def _answered(call: Callable[..., Any], arguments: Sequence[Any], deadline: float) -> bool:
    """Call SQLite, and return whether no other process locks the file. Raises its error after `deadline`, and any other."""
    try:
        call(*arguments)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
            raise
        return False
    return True


class _Cursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> "_Cursor":
        _patiently(super().execute, *arguments)
        return self


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        _patiently(super().commit)


def _storage(where: storage.Place) -> optuna.storages.RDBStorage:
    if not isinstance(where, Path):
        return optuna.storages.RDBStorage(where, engine_kwargs={"pool_pre_ping": True})
    patient = {"factory": _Connection, "timeout": 1.0}
    return optuna.storages.RDBStorage(f"sqlite:///{where.resolve()}", engine_kwargs={"connect_args": patient})
