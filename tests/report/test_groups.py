import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE, write_shots
from tests.report.conftest import read
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import list_files
from xtcav_ml.data.predictions import Predictions
from xtcav_ml.report import groups


def predictions(right, **columns):
    said = ["a" if one else "b" for one in right]
    texts = {name: [str(value) for value in values] for name, values in columns.items()}
    return Predictions("run", len(right), {"actual": ["a"] * len(right), "predicted": said, **texts})


def test_shots_are_counted_by_run_in_the_order_of_their_numbers():
    run = predictions([1, 0, 1, 1, 1], run=[100, 70, 70, 70, 9])
    assert list(groups.by_run(run).items()) == [("9", (1, 1)), ("70", (2, 3)), ("100", (1, 1))]


def test_of_many_runs_those_with_the_most_shots_are_shown():
    run = predictions([1] * 31, run=[*range(1, 31), 30])
    found = groups.by_run(run)
    assert len(found) == groups.MOST_RUNS
    assert found["30"] == (2, 2)


def test_groups_of_energy_have_as_many_shots_each_and_none_is_lost():
    rng = np.random.default_rng(0)
    energies = rng.gamma(2, 100, 103)
    energies[:3] = np.nan
    found = groups.by_energy(predictions(energies > 150), energies)
    assert [shots for _, shots in found.values()] == pytest.approx([20] * 5, abs=1)
    assert sum(shots for _, shots in found.values()) == 100
    assert next(right for right, _ in found.values()) == 0
    assert [right / shots for right, shots in found.values()][-1] == 1


def test_shots_of_one_energy_are_one_group_and_none_without_any():
    assert groups.by_energy(predictions([1, 0]), np.array([0.0, 0.0])) == {"0 to 0": (1, 2)}
    assert groups.by_energy(predictions([1]), np.array([np.nan])) == {}
    mostly = np.array([0.0] * 90 + [5.0] * 10)
    assert sum(shots for _, shots in groups.by_energy(predictions([1] * 100), mostly).values()) == 100


def test_groups_of_almost_the_same_energy_have_names_that_differ():
    found = groups.by_energy(predictions([1] * 10), np.linspace(1.2301, 1.2310, 10))
    assert sum(shots for _, shots in found.values()) == 10
    assert len(found) == groups.ENERGY_GROUPS


@pytest.mark.parametrize(("names", "unit"), groups.PULSE_ENERGIES.items())
def test_energies_are_those_of_the_raw_files_shot_by_shot(tmp_path, params, names, unit):
    rng = np.random.default_rng(1)
    values = {name: rng.uniform(1, 50, 30) for name in names}
    write_shots(tmp_path / "a.h5", run=70, count=30)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for name, value in values.items():
            file[name] = value
    data = DataParams(raw=str(tmp_path), frame_shape=SHAPE, bad_files="fail")
    raw = raw_files.survey(list_files(tmp_path), data, params.prepare)
    rows = [17, 3, 29]
    run = predictions([1, 0, 1], **{name: raw.columns[name][rows] for name in EVENT_KEY})
    run.columns["evt.seconds"][2] = "12"  # a shot that the files do not have
    found, its_unit = groups.pulse_energies(run, raw)
    assert found[:2] == pytest.approx(np.sum([value[rows[:2]] for value in values.values()], axis=0))
    assert np.isnan(found[2])
    assert its_unit == unit


def test_files_without_pulse_energies_are_no_fault(tmp_path, params):
    write_shots(tmp_path / "a.h5", run=70, count=30)
    data = DataParams(raw=str(tmp_path), frame_shape=SHAPE, bad_files="fail")
    raw = raw_files.survey(list_files(tmp_path), data, params.prepare)
    run = predictions([1], run=[70], **{name: [1] for name in EVENT_KEY})
    assert len(groups.pulse_energies(run, raw)[0]) == 0
    assert groups.group_charts(run, raw) == {}


def test_the_page_has_a_chart_of_two_runs(project):
    path = project / "results/predictions.csv"
    assert "Accuracy by run" not in read(project, "test").text
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("run")
    cells = [line.split(",") for line in lines[1:]]
    for row in cells[70:]:
        row[column] = "71"
    path.write_text("\n".join([lines[0], *map(",".join, cells)]) + "\n")
    (chart,) = [svg for svg in read(project, "test").named("svg") if svg["aria-label"].startswith("Accuracy by run")]
    assert "70: " in chart["aria-label"]
    assert "71: " in chart["aria-label"]
