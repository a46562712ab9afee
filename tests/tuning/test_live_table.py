import pytest

from xtcav_ml.tuning.live_table import Row, SearchTable, best_so_far, short

ROWS = [
    Row(0, "complete", 0.7, 5, {"train.optimizer.momentum": 0.85}),
    Row(1, "pruned", 0.9, 2, {"train.optimizer.momentum": 0.5}),
    Row(2, "complete", 0.7, 5, {"train.optimizer.momentum": 0.6}),
]


def test_best_is_the_first_of_the_best_completed():
    assert best_so_far(ROWS) == "0.700 (trial 0)"
    assert best_so_far(ROWS[1:2]) == "none yet"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train.model.blocks.0.kernel", "0.kernel"), ("train.optimizer.momentum", "momentum"), ("epochs", "epochs")],
)
def test_short_names_tell_blocks_apart(name, expected):
    assert short(name) == expected


def test_without_a_terminal_each_trial_is_one_line(capsys):
    with SearchTable(["train.optimizer.momentum"], 9) as table:
        table.show([Row(0, "running", 0.1, 1, {})])
        for count in (1, 2, 3):
            table.show(ROWS[:count])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "trial   1 pruned   0.900  momentum=0.5 | best so far 0.700 (trial 0)" in lines[1]
