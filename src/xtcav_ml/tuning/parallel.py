"""A search whose trials are trained by workers, several at a time: processes of this machine, or of a cluster by Dask.

This process alone writes the study, MLflow and the results. A worker gets one leg of a trial at a time, from its checkpoint to
its next rung, and what it returns is the whole of what the trial has done, so that nothing is lost with a worker. Trials that
run at the same time do not know of each other: the order in which they end decides what is tried next, and another call may try
others. With one worker `loop.Search` is the same from call to call.
"""

import functools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.trial import TrialState

from xtcav_ml.config.base import overridden
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import TuneParams
from xtcav_ml.system import workers
from xtcav_ml.system.child_process import Killed
from xtcav_ml.system.errors import DiskFull, UserError
from xtcav_ml.system.progress import console
from xtcav_ml.system.workers import LOCAL, Arrived, Workers
from xtcav_ml.tracking.tracker import Run
from xtcav_ml.tuning import costs, studies
from xtcav_ml.tuning.leg import OtherWorker, Ran, Row, computes, run_leg
from xtcav_ml.tuning.live_table import Show
from xtcav_ml.tuning.loop import RUN_STATES, STARTS, WAITS, Ended, OutOfTime, Search, reported
from xtcav_ml.tuning.tune import run_search

Following = Callable[[Collection[int]], Trial | None]
"""Returns the trial that is trained next, beside those with these numbers; None if there is none now."""


def run_parallel_search(
    cluster: str,
    count: int | None,
    train: TrainParams,
    tune: TuneParams,
    data: Path,
    out: Path,
    seeds: Sequence[int] = (),
) -> None:
    """Search as `run_search`, with `count` workers of `cluster`: see `workers.opened`, whose errors it raises too.

    On this machine they share its processors, so that a training may have fewer threads than `train.threads`.
    """
    threads = workers.threads_each(train.threads, count or 1) if cluster == LOCAL else train.threads
    with workers.opened(cluster, count, threads, tune.memory_gb, (out / "certificates").resolve()) as crew:
        said = f"tune: {crew.count} trials at a time on {crew.where}, {threads} thread{'s' * (threads > 1)} each"
        fewer = (
            f", not the {train.threads} of train.threads: other last bits, and `xtcav promote` writes this number too"
        )
        console().print(said + (fewer if threads < train.threads else ""))
        search = functools.partial(ParallelSearch, crew=crew)
        run_search(overridden(train, "train", {"train.threads": threads}), tune, data, out, seeds, search)


@dataclass
class _Leg:
    """A trial that a worker has."""

    trial: Trial
    run: Run
    params: TrainParams
    until: int
    known: set[int]  # epochs that the study has
    rows: list[Row] = field(default_factory=list)
    starts: int = 1  # workers that were lost one after the other without an epoch between, and this one


class ParallelSearch(Search):
    """The same search with the workers of `crew`."""

    def __init__(self, *arguments: Any, crew: Workers) -> None:
        super().__init__(*arguments)
        self.crew = crew
        self.like = computes(self.prepared.path.parent.resolve())

    def _search(self, parent: Run, show: Show) -> None:
        """Run trials until no one may begin or go on. Raises OutOfTime."""

        def following(busy: Collection[int]) -> Trial | None:
            if studies.is_spent(self.study, self.tune, busy):
                return None
            return studies.next_trial(self.study, self.tune, self.baseline, busy)

        self._run_all(following, parent, show, to_end=False)

    def _run_each(self, begun: Iterator[Trial], parent: Run, show: Show) -> None:
        """Train each of these trials to its end."""
        self._run_all(lambda _: next(begun, None), parent, show, to_end=True)

    def _run_all(self, following: Following, parent: Run, show: Show, to_end: bool) -> None:
        """Keep the workers busy until no trial follows. Raises OutOfTime; what then runs goes on with the next call."""
        legs = dict[int, _Leg]()
        try:
            self._fill(legs, following, parent, show, to_end)
            while legs:
                if time.monotonic() >= self.deadline and not to_end:
                    raise OutOfTime
                if (arrived := self.crew.arrive()) is not None and arrived.name in legs:
                    self._take(legs, arrived, show)
                    if arrived.name not in legs:
                        self._fill(legs, following, parent, show, to_end)
        finally:
            self.crew.withdraw()
            for leg in legs.values():
                self._end(leg.trial, leg.run, None)

    def _fill(self, legs: dict[int, _Leg], following: Following, parent: Run, show: Show, to_end: bool) -> None:
        """Give each idle worker a trial. Raises OutOfTime, unless the trials are trained to their end."""
        if time.monotonic() >= self.deadline and not to_end:
            raise OutOfTime
        while len(legs) < self.crew.count and (trial := following(legs)) is not None:
            run = self._trial_run(trial, parent)
            run.params(trial.params)
            params = self._measured(trial, run)
            if isinstance(params, TrainParams):
                known = set(reported(trial))
                leg = legs[trial.number] = _Leg(trial, run, params, 0 if to_end else self._next_stop(known), known)
                self._submit(leg)
            else:
                self._end(trial, run, params)
            show(self.trials(), trial.number, self._places(legs))

    def _places(self, legs: Collection[int]) -> dict[int, str]:
        """Return where these trials are trained; of one that no worker has begun, nothing."""
        return {number: self.crew.places.get(number, "") for number in legs}

    def _measured(self, trial: Trial, run: Run) -> TrainParams | Ended:
        """Return what a trial trains with, after its costs were measured here, as those of all trials; or its end."""
        params = self._params(trial)
        if isinstance(params, TrainParams):
            try:
                if measured := costs.measure(trial, self.tune.objectives, params, self.prepared):
                    run.metrics(measured, step=0)
            except DiskFull:
                raise
            except UserError as error:
                return TrialState.FAIL, None, str(error)
        return params

    def _next_stop(self, known: Collection[int]) -> int:
        """Return the next rung after these epochs; 0 if there is none."""
        return min((stop for stop in self.stops if stop > max(known, default=0)), default=0)

    def _submit(self, leg: _Leg) -> None:
        folders = self.prepared.path.parent.resolve(), self._states(leg.trial).resolve()
        self.crew.submit(leg.trial.number, run_leg, self.like, leg.trial.number, leg.params, folders, leg.until)

    def _take(self, legs: dict[int, _Leg], arrived: Arrived, show: Show) -> None:
        """Take what has come of a leg. Raises what no trial is to blame for."""
        leg = legs[arrived.name]
        if arrived.kind == "lost":
            console().print(f"  trial {arrived.name}: its worker {arrived.content} is lost, another continues")
        elif arrived.kind == "message":
            epoch, values = arrived.content
            if self._take_epoch(leg, epoch, values) and epoch not in self.stops:  # where its end is shown
                show(self.trials(), arrived.name, self._places(legs))
        else:
            ended = (
                self._result(leg, arrived.content) if arrived.kind == "result" else self._error(leg, arrived.content)
            )
            if arrived.kind == "result" or ended is not None:
                del legs[arrived.name]
                self._end(leg.trial, leg.run, ended)
                show(self.trials(), arrived.name, self._places(legs))

    def _take_epoch(self, leg: _Leg, epoch: int, values: Row) -> bool:
        """Report an epoch that follows the last one, and return whether it is new: a worker repeats those before."""
        if epoch != len(leg.rows) + 1:
            return False
        leg.rows.append(values)
        if epoch in leg.known:
            return False
        leg.known.add(epoch)
        leg.starts = 0
        self._report(leg.trial, leg.run, epoch, leg.rows)
        return True

    def _result(self, leg: _Leg, ran: Ran) -> Ended | None:
        for epoch, values in enumerate(ran.rows, start=1):
            self._take_epoch(leg, epoch, values)
        return self._completed(leg.trial, leg.rows, ran.shots) if ran.ended else None

    def _error(self, leg: _Leg, error: BaseException) -> Ended | None:
        """Return the end of a trial that this error ends; None if another worker continues."""
        if not isinstance(error, UserError) or isinstance(error, (DiskFull, OtherWorker)):
            raise error
        if not isinstance(error, Killed) or leg.starts == STARTS:
            return TrialState.FAIL, None, str(error)
        leg.starts += 1
        console().print(f"  trial {leg.trial.number}: its process was killed, another continues")
        self._submit(leg)
        return None

    def _end(self, trial: Trial, run: Run, ended: Ended | None) -> None:
        """End a trial, or leave it waiting at its rung, and its run in either case."""
        status = WAITS
        try:
            if ended is not None:
                state, value, note = ended
                self._tell(trial, run, state, value, note)
                status = RUN_STATES[state]
            else:
                self._tag(run, trial)
        finally:
            run.finish(status)
