import io
import re

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from xtcav_ml.tuning import live_table
from xtcav_ml.tuning.live_table import best_so_far, search_table, short

NAME = "train.optimizer.momentum"


@pytest.fixture
def trials():
    """Two trials of the same score, and a better one between them that was pruned."""
    study = optuna.create_study(direction="maximize")
    for momentum, score, state in ((0.85, 0.7, "COMPLETE"), (0.5, 0.9, "PRUNED"), (0.6, 0.7, "COMPLETE")):
        trial = study.ask({NAME: optuna.distributions.FloatDistribution(momentum, momentum)})
        trial.report(score, 2)
        study.tell(trial, score if state == "COMPLETE" else None, state=TrialState[state])
    return study.trials


def test_best_is_the_first_of_the_best_completed(trials):
    assert best_so_far(trials) == "0.700 (trial 0)"
    assert best_so_far(trials[1:2]) == "none yet"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train.model.blocks.0.kernel", "0.kernel"), ("train.optimizer.momentum", "momentum"), ("epochs", "epochs")],
)
def test_short_names_tell_blocks_apart(name, expected):
    assert short(name) == expected


def test_without_a_terminal_each_trial_is_one_line(trials, capsys):
    with search_table([NAME], 9) as show:
        show([optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values={1: 0.1})])
        for count in (1, 2, 3):
            show(trials[:count])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "trial   1 pruned   0.900  momentum=0.5 | best so far 0.700 (trial 0)" in lines[1]


def test_on_a_terminal_the_table_grows(trials, monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(live_table, "console", lambda live: screen)
    with search_table([NAME], 9) as show:
        for count in (1, 2, 3):
            show(trials[:count])
    last = re.sub(r"\x1b\[[\d;?]*\w", "", screen.file.getvalue()).rpartition("best so far: ")[2]
    assert last.startswith("0.700 (trial 0); 0.0 of 9 minutes")
    assert re.search(r"1 │ +pruned │ 0\.900 │ +2 │ +0\.5 ", last)
