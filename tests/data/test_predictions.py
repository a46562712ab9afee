import pytest
from typer.testing import CliRunner

from tests.report.conftest import lay_bare
from xtcav_ml.cli import main
from xtcav_ml.data import predictions
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

TABLE = """\
run,run.index,actual,predicted,probability of b,probability of a c,actual peak,predicted peak
70,0,b,a c,0.25,0.75,1.5,1
70,1,b,b,1,0,nan,2
"""


def test_a_table_by_shot_and_by_column():
    assert predictions.read_rows("x", TABLE)[1]["predicted peak"] == "2"
    run = predictions.read_predictions("x", TABLE)
    assert (run.shots, run.columns["run.index"]) == (2, ["0", "1"])
    assert run.classes() == ["b", "a c"]  # in the order of their numbers, not of the alphabet
    assert run.learned() == ["classes", "peak"]
    assert run.floats("probability of a c") == [0.75, 0]


@pytest.mark.parametrize("name", ["\u2028", "a\x85b", "\x1c", "a,b", 'a "b"', "=1+1", "@x", "<b>"])
def test_a_name_of_any_characters_comes_back(tmp_path, name):
    columns = dict(zip(predictions.RUN_KEY, range(9), strict=False))
    row = {**columns, "actual": name, f"probability of {name}": 1}
    atomic.write_csv(tmp_path / "predictions.csv", [row, row])
    text = (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert predictions.read_rows("it", text) == [{key: str(value) for key, value in row.items()}] * 2


def test_numbers_that_are_none_are_one_line():
    with pytest.raises(UserError, match=r"^x: column 'actual' is damaged \(found .*'b'"):
        predictions.read_predictions("x", TABLE).floats("actual")


def test_two_experiments_with_the_same_run_numbers_are_reported_summarized_and_compared(tmp_path, monkeypatch):
    text = (lay_bare(tmp_path, monkeypatch) / "results/predictions.csv").read_text()
    rows = predictions.read_rows("x", text)
    assert len({(row["run"], row["run.index"]) for row in rows}) < len(rows)
    for command in (["report"], ["summary"], ["compare", ".", "results"]):
        done = CliRunner().invoke(main.application(command[:1]), command)
        assert done.exit_code == 0, (command, done.output, done.exception)
    assert f"{len(rows)} test shots in common" in done.output
    without_key = text.replace("evt.fiducials", "fiducials")
    with pytest.raises(UserError, match=r"^x: shot run, run\.index = 70, 0 is repeated .*\. Fix: evaluate "):
        predictions.read_predictions("x", without_key)
