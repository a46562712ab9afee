import io
import re

import optuna
import pytest
from optuna.trial import TrialState

from tests.terminal import screens
from xtcav_ml.system import progress
from xtcav_ml.tuning.live_table import best_so_far, search_table, short

NAME = "train.optimizer.momentum"
REASON = "after epoch 2: 0.900 is below 0.950, the median of 3 completed trials then"


def terminal(monkeypatch, width, height):
    """Let the table be drawn on a terminal of this size; return its console."""
    screen = progress._Safe(
        file=io.StringIO(), force_terminal=True, width=width, height=height, highlight=False, markup=False
    )
    monkeypatch.setattr(progress, "_Safe", lambda **_: screen)  # it is drawn on as a terminal is
    return screen


@pytest.fixture
def trials():
    """Two trials of the same score, and a better one between them that was pruned."""
    study = optuna.create_study(direction="maximize")
    for momentum, score, state in ((0.85, 0.7, "COMPLETE"), (0.5, 0.9, "PRUNED"), (0.6, 0.7, "COMPLETE")):
        trial = study.ask({NAME: optuna.distributions.FloatDistribution(momentum, momentum)})
        trial.report(score, 2)
        if state == "PRUNED":
            trial.set_user_attr("note", REASON)
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
    with search_table([NAME], 9, 20) as show:
        show([optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values={1: 0.1})], 0)
        for count in (1, 2, 3):
            show(trials[:count], count - 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert f"trial   1 pruned   0.900  momentum=0.5 ({REASON}) | best so far: 0.700 (trial 0)" in lines[1]
    assert "2 of 20 trials ended or wait; 0:00:00 passed, at most 0:00:00 left" in lines[1]


def test_a_trial_that_waits_at_a_rung_is_said_to_and_its_next_epoch_is_not_told(capsys):
    with search_table([NAME], 9, 20, stops=[2]) as show:
        for epochs, busy in ((1, {0: ""}), (2, {}), (2, {0: ""}), (3, {0: ""})):
            values = dict.fromkeys(range(1, epochs + 1), 0.1)
            show([optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values=values)], 0, busy)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(r"waits +0.100 .* 1 of 20 trials ended or wait", line)


DEFAULT = [
    "train.optimizer.learning_rate",
    NAME,
    *(f"train.model.blocks.{name}" for name in ("0.kernel", "1.kernel", "0.pool_window", "0.pool")),
]


@pytest.mark.parametrize(
    ("width", "height", "shown", "hidden"),
    [
        (20, 1, ["trial", "score", "no room for: state"], ["reason"]),
        (80, 24, ["epoch", "0.kernel", "momentum", "no room for: ", f"trial 1 pruned: {REASON}"], ["reason"]),
        (200, 60, ["0.pool", "reason", REASON], ["no room for"]),
    ],
)
def test_a_terminal_shows_the_columns_that_it_has_room_for(trials, monkeypatch, width, height, shown, hidden):
    screen = terminal(monkeypatch, width, height)
    with search_table(DEFAULT, 9, 20) as show:
        for count in (1, 2, 3):
            show(trials[:count], count - 1)
    lines = screens(screen.file.getvalue(), width)[-1]
    assert max(map(len, lines)) <= width
    words = " ".join(line.strip() for line in lines)
    assert re.search(r"3 of 20 trials ended or wait; 0:00:00 passed, at most 0:00:\d\d left", words)
    assert [part for part in shown if part not in words] == []
    assert [part for part in hidden if part in words] == []
    assert "…" not in words
    table = [line for line in lines if line and line[0] in "┏┃┡│└"]
    assert len({len(line) for line in table}) == 1, "a torn row"
    assert any(re.match(rf"│ +{0 if height == 1 else 2} │ 0\.700", line) for line in table)
    assert "best so far: 0.700 (trial 0); 2 complete, 1 pruned" in words


def numbered(*trials):
    """Return trials of a study in which they are those alone."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study.trials


def test_those_that_run_and_the_best_one_are_shown_among_many_later_ones(monkeypatch):
    screen, running = terminal(monkeypatch, 80, 24), TrialState.RUNNING
    waiting = [optuna.trial.create_trial(state=running, intermediate_values={2: -0.9}) for _ in range(40)]
    promoted = optuna.trial.create_trial(state=running, intermediate_values={2: -0.8, 3: -0.7})
    complete = optuna.trial.create_trial(state=TrialState.COMPLETE, value=-0.6)
    with search_table([NAME], 9, 90, stops=[2]) as show:
        show(numbered(promoted, complete, *waiting), 0)
    lines = screens(screen.file.getvalue(), 80)[-1]
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in lines if line.startswith("│")]
    assert rows[:2] == [["0", "-0.700", "running", "3"], ["1", "-0.600", "complete", "0"]]
    assert "best so far: -0.600 (trial 1); 1 running, 40 waiting, 1 complete" in " ".join(lines)


def test_a_trial_that_goes_on_from_its_rung_runs(monkeypatch):
    screen = terminal(monkeypatch, 80, 24)
    waiting = [optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values={2: -0.9}) for _ in range(3)]
    with search_table([NAME], 9, 9, stops=[2]) as show:
        show(numbered(*waiting), 1, {1: ""})
    words = " ".join(screens(screen.file.getvalue(), 80)[-1])
    assert "1 running, 2 waiting" in words
    assert re.search(r"│ +1 │ +-0.900 │ +running", words)


def test_where_there_are_workers_a_column_says_which_one_trains_a_trial(monkeypatch):
    screen = terminal(monkeypatch, 80, 24)
    running = [optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values={1: -0.9}) for _ in range(3)]
    with search_table([NAME], 9, 9) as show:
        show(numbered(*running), 1, {0: "", 1: ""})
        show(numbered(*running), 1, {0: "sdfmilan012", 1: "", 2: "2"})
    first, *_, last = (" ".join(lines) for lines in screens(screen.file.getvalue(), 80))
    assert "worker" not in first
    assert "worker" in last
    assert re.search(r"│ +0 │ +-0.900 │ +running │ +1 │ +sdfmilan012 │", last)
    assert re.search(r"│ +1 │ +-0.900 │ +running │ +1 │ +│", last)


def test_a_repeat_says_what_it_repeats(monkeypatch):
    screen = terminal(monkeypatch, 80, 24)
    with search_table(DEFAULT, 9, 9) as show:
        show(numbered(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"repeats": -1, "seed": 2})), 0)
    assert "trial 0 running: repeats params.yaml with seed 2" in " ".join(screens(screen.file.getvalue(), 80)[-1])


def test_before_any_trial_is_complete_the_furthest_is_the_best():
    values = [{2: -0.3, 5: -0.2}, {2: -0.1}]
    trials = [optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values=value) for value in values]
    assert best_so_far(numbered(*trials)) == "-0.200 after epoch 5 (trial 0)"


def test_a_table_is_not_higher_than_the_terminal(monkeypatch):
    screen = terminal(monkeypatch, 80, 24)
    many = [optuna.trial.create_trial(state=TrialState.COMPLETE, value=0.5) for _ in range(50)]
    with search_table([NAME], 9, 60) as show:
        show(many, 49)
    assert len(screens(screen.file.getvalue(), 80)[-1]) <= 24
