"""The Pareto front, and a study with several objectives from its first trial to its results."""

import json
import random
import warnings

import pytest
from optuna.trial import TrialState, create_trial

from tests.tuning.conftest import Known, interrupted_reports, run_until_done
from xtcav_ml.config.base import load_section
from xtcav_ml.config.tune import Choices, TuneParams
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import costs, loop, objectives, outcome, rungs, studies

SEVERAL = ("accuracy", "milliseconds", "memory")


def complete(number, *values):
    trial = create_trial(values=values)
    trial.number = number
    return trial


def test_the_front_are_the_trials_that_no_other_one_beats():
    draw = random.Random(1)
    trials = [complete(number, *(draw.randrange(9) for _ in range(3))) for number in range(40)]
    trials.append(create_trial(state=TrialState.PRUNED))
    found = objectives.front(trials)

    def beats(one, other):
        better = [
            one.values[0] >= other.values[0],
            *(a <= b for a, b in zip(one.values[1:], other.values[1:], strict=True)),
        ]
        return all(better) and one.values != other.values

    ended = trials[:-1]
    unbeaten = [trial for trial in ended if not any(beats(other, trial) for other in ended)]
    assert {tuple(trial.values) for trial in found} == {tuple(trial.values) for trial in unbeaten}
    assert len({tuple(trial.values) for trial in found}) == len(found) > 2
    assert [trial.values[0] for trial in found] == sorted((trial.values[0] for trial in found), reverse=True)
    for trial in found:
        assert trial.number == min(one.number for one in ended if one.values == trial.values)


def test_of_one_objective_the_front_is_the_best_trial():
    trials = [complete(number, value) for number, value in enumerate((0.3, 0.7, 0.7, 0.1))]
    assert [trial.number for trial in objectives.front(trials)] == [1]


@pytest.fixture
def several(search, monkeypatch):
    """Return a search for accuracy, milliseconds and memory whose kernels are timed as they are large."""
    timed = []

    class Timed(Known):
        def __init__(self, target, params, *rest, **options):
            super().__init__(target, params, *rest, **options)
            if target is costs.time_network:
                timed.append(params.model.blocks[0].kernel)
                self.result = float(params.model.blocks[0].kernel)

        def __iter__(self):
            return iter(()) if isinstance(self.result, float) else super().__iter__()

    for module in (loop, costs):
        monkeypatch.setattr(module, "ChildProcess", Timed)
    space = {**search.tune.space, "train.model.blocks.0.kernel": Choices(choices=(4, 6, 8, 12))}
    search.tune = search.tune.model_copy(update={"objectives": SEVERAL, "trials": 10, "space": space})
    search.study = studies.open_study(search.tune, {}, search.out / "several.db")
    with warnings.catch_warnings(action="ignore"):
        search.study.set_metric_names(outcome.metric_names(search.prepared.spec, search.tune))
    search.timed = timed
    return search


def test_a_study_of_several_objectives_ends_with_the_front(several):
    several.run_trials()
    trials = several.study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 10
    assert [len(trial.values) for trial in trials] == [3] * 10
    for trial in trials:
        assert trial.values[1] == trial.params["train.model.blocks.0.kernel"]
        assert trial.values[2] == trial.user_attrs["memory"] > 0
    best = json.loads((several.out / "best.json").read_text())
    front = objectives.front(trials)
    assert [one["trial"] for one in best["front"]] == [trial.number for trial in front]
    assert best["trial"] == front[0].number
    assert best["front"][0]["values"] == dict(zip(SEVERAL, front[0].values, strict=True))
    described = json.loads((several.out / "search.json").read_text())
    assert described["objectives"][1:] == ["ms a frame", "GB"]
    assert str(front[0].number) in described["summary"]["Front"]


def test_networks_with_the_same_layers_are_timed_once(several):
    several.run_trials()
    assert len(several.timed) == len(set(several.timed)) <= 4


@pytest.mark.thorough
def test_its_trials_go_on_as_if_there_had_been_no_interruption(several, monkeypatch):
    several.run_trials()
    expected = [(trial.params, trial.values, trial.intermediate_values) for trial in several.study.trials]
    several.study = studies.open_study(several.tune, {"another": 1}, several.out / "several.db")
    with interrupted_reports(every=3):
        run_until_done(several)
    assert [(trial.params, trial.values, trial.intermediate_values) for trial in several.study.trials] == expected


def test_the_most_accurate_on_the_front_are_repeated(several):
    several.seeds = (2, 3)
    several.tune = several.tune.model_copy(update={"best": 2})
    several.run_trials()
    searched = rungs.searched(several.study.trials)
    assert len(searched) == 10
    repeated = {one.user_attrs["repeats"] for one in several.study.trials if "repeats" in one.user_attrs}
    tops = {one.number for one in objectives.front(searched)[:2] if one.params != several.baseline}
    assert repeated == {*tops, rungs.BASELINE}
    best = json.loads((several.out / "best.json").read_text())
    said = {one["trial"]: one["verdict"] for one in best["front"]}
    assert all(f"trial {number} over 2 seeds" in said[number] for number in tops)
    assert not any(said[number] for number in said if number not in tops)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objectives": ["accuracy", "memory"], "rungs": 3}, r"tune.*rungs: .*found 3.* Fix: set rungs to 0"),
        (
            {"objectives": ["accuracy", "memory"], "rungs": 0, "sampler": "cmaes"},
            r"sampler: .*found cmaes.* Fix: set sampler to tpe",
        ),
        ({"sampler": "nsga2", "rungs": 1}, r"rungs: NSGA-II.* Fix: set rungs to 0"),
        ({"objectives": ["memory"], "rungs": 0}, r"objectives: .*found memory, expected accuracy first.* Fix: "),
        ({"objectives": ["accuracy", "accuracy"], "rungs": 0}, r"objectives: .*each once"),
    ],
)
def test_what_does_not_fit_several_objectives_is_refused_with_its_cure(tmp_path, params, changes, reason):
    tree = {**params.tune.model_dump(mode="json"), **changes}
    (tmp_path / "params.yaml").write_text(json.dumps({"tune": tree}))
    with pytest.raises(UserError, match=reason):
        load_section("tune", TuneParams, tmp_path / "params.yaml")
