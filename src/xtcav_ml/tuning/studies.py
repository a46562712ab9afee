"""Optuna studies that an interruption at any moment leaves as if there had been none.

A study is named by all that decides it: a later call continues it, and a call with other data, code or parameters starts its
own. A trial enters it whole, in one step, and leaves it whole. One that is running has been interrupted, and is continued.
"""

import contextlib
import hashlib
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from optuna import Study, Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import OptunaError
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from xtcav_ml.config.tune import Choices, Range, TuneParams
from xtcav_ml.system import atomic, errors, interrupts
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import told

LOCKED_SECONDS = 120.0  # for which another process may lock the file of a study

BUDGET = {"trials", "minutes", "memory_gb"}  # of `tune`: it may grow, or a limit be corrected, in the same study

Values = Mapping[str, Any]
"""Values of parameters by their dotted names."""


def open_study(tune: TuneParams, decides: Mapping[str, Any], path: Path) -> Study:
    """Return the study in the SQLite file `path` for these rules of the search and `decides`; create it on first use."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not path.exists():
        with atomic.replacing(path) as temporary:  # Optuna makes its tables in many steps
            _storage(temporary).engine.dispose()
    text = json.dumps([decides, tune.model_dump(mode="json", exclude={"study", *BUDGET})], sort_keys=True)
    return optuna.create_study(
        study_name=f"{tune.study}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        storage=_storage(path),
        direction="maximize",
        load_if_exists=True,
        sampler=RandomSampler(seed=0),  # never asked: see `suggest`
        pruner=optuna.pruners.MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.warmup_epochs),
    )


def next_trial(study: Study, tune: TuneParams, baseline: Values) -> Trial:
    """Return the trial that an earlier process began and did not end, or else begin the next one.

    The first is `baseline` (dotted names), if that lies in the search space.
    """
    if not _running(study):
        space = _distributions(tune)
        first = not study.trials and inside(tune, baseline)
        values = {name: baseline[name] for name in space} if first else suggest(study.trials, tune)
        begun = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=values, distributions=space, user_attrs={"run_key": uuid.uuid4().hex}
        )
        study.add_trial(begun)
    return Trial(study, _running(study)[0]._trial_id)  # nothing public gives a trial that another process began


def suggest(before: list[FrozenTrial], tune: TuneParams) -> dict[str, Any]:
    """Return parameters for the trial after those `before`, as a function of these and the seed alone.

    Optuna stores neither the state of its sampler nor a suggestion in one step. So the sampler is a new one for every trial,
    and works in memory.
    """
    seed = hashlib.blake2b(repr((tune.seed, len(before))).encode(), digest_size=4).digest()
    sampler = TPESampler(seed=int.from_bytes(seed, "big"), n_startup_trials=tune.startup_trials)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(before)
    return dict(study.ask(_distributions(tune)).params)


def inside(tune: TuneParams, values: Values) -> bool:
    """Return whether `values` lie in the search space."""
    return all(_contains(dimension, values[name]) for name, dimension in tune.space.items())


def distribution(values: Range | Choices) -> BaseDistribution:
    """Return Optuna's distribution of a dimension of the search space."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return FloatDistribution(float(values.low), float(values.high), log=values.log)


def _distributions(tune: TuneParams) -> dict[str, BaseDistribution]:
    """Return the search space in the order of the names, in which the sampler draws."""
    return {name: distribution(values) for name, values in sorted(tune.space.items())}


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that have ended, which are those that count against the budget."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def why_pruned(study: Study, epoch: int, score: float) -> str:
    """Return in words why the pruner ended a trial after an `epoch` in which its best score was `score`."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    scores = [trial.intermediate_values[epoch] for trial in complete if epoch in trial.intermediate_values]
    return f"after epoch {epoch}: {score:.3f} is below {median(scores):.3f}, the median of {len(scores)} completed trials then"


def _running(study: Study) -> list[FrozenTrial]:
    return list(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raise UserError if the file of a study is damaged, or locked by another process for longer than LOCKED_SECONDS."""
    try:
        yield
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:  # the last of these: of another version of Optuna
        if full := errors.disk_full(error, path):
            raise full from None
        why = errors.reason(error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error)
        if errors.LOCKED in why:
            problem, cure = "in use", "end the process that locks it"
        else:
            problem, cure = "damaged", "move it away, since a new search can begin"
        raise UserError(
            f"{path}: {problem} (found {why!r}, expected Optuna's database). Fix: {cure}, then run `make tune`"
        ) from None


def _patiently(call: Callable[..., Any], *arguments: Any) -> None:
    """Call SQLite again while another process locks the file, and tell so; a request to stop ends that."""
    deadline = time.monotonic() + LOCKED_SECONDS
    with told("tune: waits for another process, which has locked the study"):
        while True:
            try:
                call(*arguments)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                if interrupts.pending():  # nothing was changed yet
                    interrupts.require_none()


class _Cursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> "_Cursor":
        _patiently(super().execute, *arguments)
        return self


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        _patiently(super().commit)


def _storage(path: Path) -> optuna.storages.RDBStorage:
    patient = {"factory": _Connection, "timeout": 1.0}
    return optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}", engine_kwargs={"connect_args": patient})


def _contains(values: Range | Choices, value: Any) -> bool:
    if isinstance(values, Choices):
        return value in values.choices
    if value is None or not values.low <= value <= values.high:  # None: the parameter is off
        return False
    return values.step is None or bool((value - values.low) % values.step == 0)
