"""The search by several workers, with workers that do at once what they are asked, and answer in any order."""

import random
from collections import Counter

import pytest
from optuna.trial import TrialState

from xtcav_ml.system.child_process import Killed
from xtcav_ml.system.errors import DiskFull, UserError
from xtcav_ml.system.workers import Arrived
from xtcav_ml.tuning import parallel, rungs
from xtcav_ml.tuning.leg import OtherWorker, Ran
from xtcav_ml.tuning.loop import STARTS

EPOCHS, TRIALS = 3, 7


class Crew:
    """Workers that train trials whose score is their momentum - 1, and answer in an order that `seed` decides."""

    where, epochs = "this test", EPOCHS

    def __init__(self, count=3, seed=0):
        self.count, self.choose = count, random.Random(seed)
        self.queues, self.places = {}, {}
        self.asked = []  # number of a trial and the last epoch of its leg
        self.most = self.withdrawn = 0

    def submit(self, number, function, like, same, params, folders, until):
        assert number == same
        assert number not in self.queues, "a trial that is trained already"
        assert folders[1].name == str(number)
        self.asked.append((number, until))
        self.queues[number] = self.answers(number, params, until)
        self.most = max(self.most, len(self.queues))

    def answers(self, number, params, until):
        rows = [
            {"val_cross_entropy": 1 - params.optimizer.momentum, "val_accuracy": 0.5} for _ in range(until or EPOCHS)
        ]
        told = [Arrived(number, "message", [epoch, row]) for epoch, row in enumerate(rows, start=1)]
        ended = until == 0
        return [*told, Arrived(number, "result", Ran(rows, [1.0] * 10 if ended else None, ended))]

    def arrive(self):
        number = self.choose.choice(sorted(self.queues))
        arrived = self.queues[number].pop(0)
        if arrived.kind in ("result", "error"):
            del self.queues[number]
        return arrived

    def withdraw(self):
        self.queues, self.withdrawn = {}, self.withdrawn + 1


def parallel_search(search, crew, **changes):
    tune = search.tune.model_copy(update={"trials": TRIALS, "epochs": EPOCHS, "rungs": 1} | changes)
    (search.out / "train.h5").write_bytes(b"0")
    return parallel.ParallelSearch(
        search.study, search.base, tune, search.prepared, search.tracker, search.out, search.seeds, crew=crew
    )


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_the_budget_is_met_exactly_and_no_trial_is_trained_twice_or_left_running(search, seed):
    crew = Crew(3, seed)
    parallel_search(search, crew).run_trials()
    trials = search.study.trials
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert max(Counter(crew.asked).values()) == 1, "a leg was trained twice"
    assert crew.most == 3
    for trial in trials:
        assert [*trial.intermediate_values] == [*range(1, len(trial.intermediate_values) + 1)]
        last = dict(crew.asked)[trial.number]
        assert trial.last_step == (last or EPOCHS)
    best = max(trials, key=lambda trial: trial.params["train.optimizer.momentum"])
    assert best.state == TrialState.COMPLETE


@pytest.mark.thorough
def test_a_third_of_those_at_a_rung_goes_on_while_others_run(search):
    crew = Crew(4, 1)
    crew.epochs = 9
    parallel_search(search, crew, trials=12, epochs=9, rungs=2).run_trials()
    reached = {stop: len(rungs.standing(search.study.trials, stop)) for stop in (1, 3, 9)}
    assert reached[1] == 12
    assert reached[3] <= 12 // 3 + 1
    assert reached[9] <= reached[3]


@pytest.mark.thorough
def test_what_a_worker_says_twice_or_that_is_lost_on_the_way_changes_nothing(search):
    class Stammering(Crew):
        def answers(self, number, params, until):
            *told, result = super().answers(number, params, until)
            lost = Arrived(number, "lost", "tls://a")
            return [*told[:1], *told[:1], lost, *told[:2], result]

    parallel_search(search, Stammering(2)).run_trials()
    for trial in search.study.trials:
        assert [*trial.intermediate_values] == [*range(1, len(trial.intermediate_values) + 1)]
    assert len(search.study.trials) == TRIALS


def test_a_killed_process_is_followed_by_another_but_not_for_ever(search):
    class Fragile(Crew):
        def answers(self, number, params, until):
            told = super().answers(number, params, until)
            error = Arrived(number, "error", Killed("killed"))
            if number == 0:
                return [error]
            return [told[0], error] if Counter(self.asked)[number, until] == 1 else told

    crew = Fragile(2)
    parallel_search(search, crew, rungs=0, trials=3).run_trials()
    assert [trial.state.name for trial in search.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [number for number, _ in crew.asked].count(0) == STARTS
    assert [number for number, _ in crew.asked].count(1) == 2


@pytest.mark.parametrize(
    "error",
    [
        DiskFull("disk: full"),
        pytest.param(OtherWorker("worker on b: other code"), marks=pytest.mark.thorough),
        pytest.param(ZeroDivisionError("x"), marks=pytest.mark.thorough),
    ],
)
def test_what_is_no_fault_of_a_trial_ends_the_search_and_not_the_trial(search, error):
    class Failing(Crew):
        def answers(self, number, params, until):
            return [Arrived(number, "error", error)]

    crew = Failing(2)
    with pytest.raises(type(error)):
        parallel_search(search, crew).run_trials()
    assert crew.withdrawn == 1
    assert {trial.state for trial in search.study.trials} == {TrialState.RUNNING}
    parallel_search(search, Crew(2)).run_trials()
    assert len(search.study.trials) == TRIALS
    assert TrialState.RUNNING not in {trial.state for trial in search.study.trials}


def test_an_error_of_a_trial_fails_it_and_no_other(search):
    class Failing(Crew):
        def answers(self, number, params, until):
            failed = [Arrived(number, "error", UserError("train: the loss is not finite"))]
            return failed if number == 2 else super().answers(number, params, until)

    parallel_search(search, Failing(2)).run_trials()
    assert [trial.number for trial in search.study.trials if trial.state == TrialState.FAIL] == [2]
    assert len(search.study.trials) == TRIALS


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
def test_a_stop_loses_nothing_and_the_next_call_goes_on(search, seed):
    class Stopped(Crew):
        arrived = 0

        def arrive(self):
            self.arrived += 1
            if self.arrived % 7 == 0:
                raise KeyboardInterrupt
            return super().arrive()

    stops, crew = 0, Stopped(3, seed)
    while True:
        try:
            parallel_search(search, crew).run_trials()
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops
    assert len(search.study.trials) == TRIALS
    assert {trial.state for trial in search.study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in search.study.trials:
        assert [*trial.intermediate_values] == [*range(1, len(trial.intermediate_values) + 1)]


def test_after_the_time_limit_no_leg_begins_and_those_that_run_are_withdrawn(search):
    crew = Crew(2)
    late = parallel_search(search, crew)
    answer = crew.arrive

    def arrive():
        late.deadline = 0.0 if len(crew.asked) > 3 else late.deadline
        return answer()

    crew.arrive = arrive
    with pytest.raises(UserError, match=r"tune\.minutes"):
        late.run_trials()
    assert len(crew.asked) == 4
    parallel_search(search, Crew(2)).run_trials()
    assert len(search.study.trials) == TRIALS


@pytest.mark.thorough
def test_the_best_trials_are_repeated_with_other_seeds_at_the_same_time(search):
    search.seeds = (2, 3)
    crew = Crew(4)
    parallel_search(search, crew, best=2).run_trials()
    repeated = [trial for trial in search.study.trials if rungs.REPEATS in trial.user_attrs]
    assert len(repeated) in (4, 6), "two or, with params.yaml among the best, one other, and params.yaml, by two seeds"
    assert {trial.state for trial in repeated} == {TrialState.COMPLETE}
    assert max(Counter(crew.asked).values()) == 1


def test_one_that_does_not_fit_is_no_work_for_a_worker(search):
    crew = Crew(2)
    with pytest.raises(UserError, match=r"tune\.memory_gb"):
        parallel_search(search, crew, memory_gb=0.001).run_trials()
    assert not crew.asked
    assert [trial.state for trial in search.study.trials] == [TrialState.PRUNED] * TRIALS
