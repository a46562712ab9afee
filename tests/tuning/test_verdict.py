"""Known searches, and what is said of them at the end."""

import re

import optuna
import pytest
from optuna.trial import TrialState

from xtcav_ml.tuning.verdict import verdict

NAME = "train.optimizer.momentum"
LAW = optuna.distributions.FloatDistribution(0.0, 1.0)


def trial(momentum, accuracy, state="COMPLETE", **attributes):
    """Return a trial whose score grows with its accuracy."""
    value = accuracy and accuracy - 1
    values = {1: value} if value is not None else {}
    value = value if state == "COMPLETE" else None
    kind = TrialState[state]
    return optuna.trial.create_trial(
        state=kind,
        value=value,
        params={NAME: momentum},
        distributions={NAME: LAW},
        intermediate_values=values,
        user_attrs=({"val_accuracy": accuracy} if state == "COMPLETE" else {}) | attributes,
    )


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (
            [trial(0.85, 0.8), trial(0.5, 0.7), trial(0.6, 0.8)],
            "No: of 3 completed trials none is better than its own, -0.200",
        ),
        (
            [trial(0.85, 0.8), trial(0.5, 0.81)],
            "Not shown: -0.190 after -0.200 of its own trial -1; accuracy 81.0%, +1.0 points on 400 validation shots",
        ),
        ([trial(0.85, 0.5), trial(0.5, 0.8), trial(0.6, 0.6, "PRUNED")], "better than the other, -0.200 after -0.500"),
        ([trial(0.85, 0.5), trial(0.5, 0.8), trial(0.6, 0.6, "PRUNED")], "widened since it is the best of 2 others"),
        ([trial(0.5, 0.8)], "Not known: no trial of its parameters was completed (they lie outside tune.space)"),
        (
            [trial(0.85, None, "PRUNED", note="infeasible: too large"), trial(0.5, 0.8)],
            "completed (infeasible: too large)",
        ),
        ([trial(0.85, 0.7, "RUNNING"), trial(0.5, 0.8)], "completed (trial -1 has stopped after epoch 1)"),
    ],
)
def test_the_end_of_a_search_says_whether_it_found_anything(trials, words):
    said, advice = verdict(trials, {NAME: 0.85}, 400, regression=False)
    assert words in said
    assert said.startswith("Better than params.yaml? ")
    assert ("promote" in advice) != ("? No:" in said)


def test_an_advantage_of_the_same_size_is_less_sure_the_more_were_tried():
    few = [trial(0.85, 0.5), trial(0.5, 0.58)]
    many = [*few, *(trial(0.6, 0.5) for _ in range(50))]
    said = [verdict(trials, {NAME: 0.85}, 400, regression=False)[0] for trials in (few, many)]
    assert ["one network is better than the other" in text for text in said] == [True, False]
    lows = [float(re.search(r"interval ([+-][\d.]+) to", text)[1]) for text in said]
    assert lows[0] > 0 > lows[1]


def test_parameters_are_never_called_better_on_one_seed_each():
    said, advice = verdict([trial(0.85, 0.1), trial(0.5, 0.9)], {NAME: 0.85}, 100_000, regression=False)
    assert said.startswith("Better than params.yaml? Not shown: one network is better than the other")
    assert "Of one seed each, the parameters cannot be called better" in said
    assert "raise tune.seeds" in advice


def test_errors_of_numbers_have_no_interval():
    said, _ = verdict([trial(0.85, 0.5), trial(0.5, 0.6)], {NAME: 0.85}, 400, regression=True)
    assert "Perhaps: -0.400 after -0.500" in said
    assert "interval" not in said


def test_the_score_ranks_the_trials_and_the_accuracy_says_how_sure_that_is():
    surer = trial(0.5, 0.8, val_accuracy=0.4)  # the better score, and fewer shots right
    said, _ = verdict([trial(0.85, 0.5), surer], {NAME: 0.85}, 400, regression=False)
    assert "Not shown: -0.200 after -0.500 of its own trial -1; accuracy 40.0%, -10.0 points" in said
