import numpy as np
import pytest

from tests.lcls2017_files import write_arrays
from xtcav_ml.data import lcls2017
from xtcav_ml.system.errors import UserError


@pytest.fixture
def folder(tmp_path):
    write_arrays(tmp_path)
    return tmp_path


def read(folder, run=70):
    return lcls2017.read_run(run, lcls2017.runs(folder)[run])


def change(path, **arrays):
    with np.load(path) as file:
        np.savez(path, **{**file, **arrays})


def test_columns_are_the_arrays_of_all_chunks_by_the_names_of_the_experiment(tmp_path):
    ebeam, delay, measured = write_arrays(tmp_path)
    columns = read(tmp_path)
    assert columns["bld.ebeam.ebeamEnergyBC2"].tolist() == ebeam[:, 2].astype(np.float32).tolist()
    assert np.isnan(columns["xtcav.delay"]).tolist() == (~measured).tolist()
    assert columns["xtcav.delay"][measured].tolist() == delay[measured].astype(np.float32).tolist()
    assert columns["bld.ebeam.damageMask"].dtype == np.int64
    assert columns["run.index"].tolist() == list(range(600))
    assert set(columns["run"]) == {70}
    assert columns["evt.fiducials"].tolist() == list(range(0, 1800, 3))
    assert columns["evt.seconds"][[0, -1]].tolist() == [1430144019, 1430144019 + 4]
    assert {len(values) for values in columns.values()} == {600}


def test_what_was_not_measured_is_not_a_number(folder):
    mask = np.ones(400, bool)
    mask[7] = False
    change(folder / "EBeam_run70_0.npz", EBeamValuesListMask=mask)
    columns = read(folder)
    assert np.flatnonzero(np.isnan(columns["bld.ebeam.ebeamCharge"])).tolist() == [7]
    assert np.flatnonzero(columns["bld.ebeam.damageMask"]).tolist() == [7]


def test_runs_of_a_folder_are_apart_and_other_files_do_not_count(folder):
    write_arrays(folder, run=71, shots=20)
    (folder / "EBeam_run70.npz").write_bytes(b"")
    (folder / "readme.md").write_text("")
    assert {run: list(chunks) for run, chunks in lcls2017.runs(folder).items()} == {70: [0, 1], 71: [0]}
    assert len(read(folder, 71)["run"]) == 20


def test_shots_after_a_pause_are_unsteady_for_a_while():
    seconds = np.concatenate([np.arange(0, 10, 0.5), np.arange(30, 150, 0.5)])
    assert (lcls2017.steady(seconds) == ((seconds < 10) | (seconds >= 130))).all()
    assert lcls2017.steady(np.arange(0, 200, 5.0)).all()


def test_jitter_is_the_deviation_from_the_last_second_of_good_shots():
    phase = np.full(400, 144.5, np.float32)
    phase[200:] += 1
    good = np.ones(400, bool)
    found = lcls2017.jitter(phase, good)
    assert found[:200] == pytest.approx(0, abs=1e-4)
    assert found[200] == pytest.approx(119 / 120, abs=1e-4)
    assert found[259] == pytest.approx(0.5, abs=1e-4)
    assert np.abs(found[-1]) < 1e-4
    good[:10], phase[20] = False, np.nan
    found = lcls2017.jitter(phase, good)
    assert np.flatnonzero(np.isnan(found)).tolist() == [*range(10), 20]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: (folder / "GMD_run70_1.npz").unlink(),
            r"GMD_run70_1\.npz: missing \(found other files of run 70",
        ),
        (lambda folder: (folder / "GMD_run70_0.npz").write_bytes(b"PK"), r"GMD_run70_0\.npz: not scalars of LCLS 2017"),
        (
            lambda folder: change(folder / "EBeam_run70_1.npz", FiducialList=np.zeros((200, 1), np.int32)),
            r"_run70_1\.npz: of other shots than EBeam_run70_1\.npz",
        ),
        (
            lambda folder: change(folder / "EBeam_run70_1.npz", EBeamValuesList=np.zeros((200, 4))),
            r"EBeam_run70_1\.npz: not scalars .*found 'EBeamValuesList of \(200, 4\) float64'",
        ),
        (
            lambda folder: change(folder / "Delays_run70_0.npz", DelayValuesList=np.zeros((3, 1))),
            r"Delays_run70_0\.npz: not scalars .*lists of different lengths",
        ),
        (
            lambda folder: change(folder / "GMD_run70_0.npz", GMDParameterNames=np.array([{}, {}])),
            r"GMD_run70_0\.npz: not scalars",
        ),
    ],
)
def test_a_folder_that_is_not_as_it_should_be_is_one_line_with_a_cure(folder, spoil, said):
    spoil(folder)
    with pytest.raises(UserError, match=rf"{said}.*Fix: ") as told:
        read(folder)
    assert "\n" not in str(told.value)


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"found no EBeam_run\*_\*\.npz.*Fix: name the folder"):
        lcls2017.runs(tmp_path)
