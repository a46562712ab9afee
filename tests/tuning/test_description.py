import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.tuning.description import description

RATE, POOL = "train.optimizer.learning_rate", "train.model.blocks.0.pool"


@pytest.fixture
def described(params):
    space = {RATE: Range(low=0.003, high=0.1, log=True), POOL: Choices(choices=("max", "average"))}
    tune = params.tune.model_copy(update={"trials": 5, "epochs": 8, "space": space})

    def describe(*trials):
        study = optuna.create_study(direction="maximize")
        for state, value in trials:
            rate = {RATE: 0.0123456}
            dimensions = {RATE: FloatDistribution(0.003, 0.1)}
            found = create_trial(state=state, value=value, params=rate, distributions=dimensions)
            study.add_trial(found)
        tune_of = tune if not trials else tune.model_copy(update={"space": {RATE: space[RATE]}})
        said = {"How sure": "Better? Yes.", "Next": "promote it"}
        return description(study, tune_of, {RATE: 0.01, POOL: "max"}, "val_accuracy", "0123456789abcdef", said)

    return describe


def test_it_says_what_is_searched_before_any_trial_has_ended(described):
    text = described()
    assert "No trial is complete yet" in text
    assert f"| {RATE} | 0.003 to 0.1 logarithmic | 0.01 |  |" in text
    assert f"| {POOL} | max, average | max |  |" in text


def test_it_says_what_was_found_and_how_to_repeat_it(described):
    text = described((TrialState.COMPLETE, 0.7), (TrialState.COMPLETE, 0.85), (TrialState.FAIL, None))
    assert text.startswith(
        "**Best: trial 1, val_accuracy 0.850**; 3 of 5 trials have ended (2 complete, 1 failed), 8 epochs"
    )
    assert f"| {RATE} | 0.003 to 0.1 logarithmic | 0.01 | 0.01235 |" in text
    assert "\n\n**How sure**: Better? Yes.\n\n" in text
    assert "promote it" not in text
    assert "`make tune` at commit `0123456789ab`" in text
