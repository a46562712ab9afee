import optuna
import pytest
from optuna.trial import TrialState, create_trial

from xtcav_ml.tuning import states

TOO_LARGE = "train.model.blocks.0.kernel: larger than its map (found 50, expected at most 24). Fix: lower it"
BEHIND = "not among the best third after epoch 5: number 4 of 9 trials there"


def trial(state, epochs=0, note="", **attributes):
    values = dict.fromkeys(range(1, epochs + 1), 0.5)
    attributes |= {states.NOTE: note} if note else {}
    value = 0.5 if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=values, user_attrs=attributes)


ONE_OF_EACH = {
    "running": trial(TrialState.RUNNING, 3),
    "waits": trial(TrialState.RUNNING, 5),
    "complete": trial(TrialState.COMPLETE, 9),
    "pruned": trial(TrialState.PRUNED, 5, BEHIND),
    "infeasible": trial(TrialState.PRUNED, 0, states.INFEASIBLE + TOO_LARGE),
    "failed": trial(TrialState.FAIL, 2, "trial 5: killed"),
}


@pytest.mark.parametrize("word", states.WORDS)
def test_each_state_has_its_word(word):
    assert states.state(ONE_OF_EACH[word], stops=[2, 5]) == word


def test_they_are_counted_without_repeats():
    study = optuna.create_study(direction="maximize")
    study.add_trials([*ONE_OF_EACH.values(), ONE_OF_EACH["pruned"]])
    study.add_trial(trial(TrialState.COMPLETE, 9, repeats=0, seed=7))
    found = states.counted(study.trials, stops=[2, 5])
    assert found == "1 running, 1 waiting, 1 complete, 2 pruned, 1 infeasible, 1 failed"


@pytest.mark.parametrize(
    ("word", "note", "page"),
    [
        ("complete", None, "**Complete** after epoch 9"),
        ("waits", None, "**Waits** after epoch 5"),
        ("running", "`make tune` continues it", "**Interrupted** after epoch 3: `make tune` continues it"),
        ("pruned", BEHIND, f"**Pruned**: {BEHIND}"),
        ("infeasible", TOO_LARGE, f"**Infeasible**: {TOO_LARGE}"),
        ("failed", "trial 5: killed", "**Failed** after epoch 2: trial 5: killed"),
    ],
)
def test_the_run_of_a_trial_says_its_state_and_why(word, note, page):
    tags = states.tags(ONE_OF_EACH[word], stops=[2, 5])
    assert tags["trial.state"] == ("interrupted" if word == "running" else word)
    assert (tags.get("note"), tags["mlflow.note.content"]) == (note, page)


@pytest.mark.parametrize(("of", "named"), [(-1, "params.yaml"), (17, "trial 17")])
def test_the_run_of_a_repeat_says_of_what_and_with_which_seed(of, named):
    tags = states.tags(trial(TrialState.COMPLETE, 9, repeats=of, seed=7))
    assert tags["note"] == f"repeats {named} with seed 7"
    assert tags["mlflow.note.content"] == f"**Complete** after epoch 9: repeats {named} with seed 7"
