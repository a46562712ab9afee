import shutil

import h5py
import numpy as np
import pytest

from xtcav_ml.config.schema import PEAKS_LABEL, WAVEFORMS
from xtcav_ml.science.simulation import simulator
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import relabel


@pytest.fixture(scope="module")
def folder(tmp_path_factory, params):
    """Two files of simulated shots, without their frames."""
    folder = tmp_path_factory.mktemp("raw")
    for run, count in ((69, 5), (70, 40)):
        shots = simulator.simulate_shots(params.simulate, run, 0, count)
        with h5py.File(folder / f"r{run}.h5", "w") as file:
            for name in relabel.REQUIRED:
                file[name] = shots[name]
            for peak in ("t0", "t1", "t2"):
                file[f"truth.{peak}"] = shots[f"acq.{peak}.ampl"]
    return folder


def test_simulated_labels_are_the_rules_own(folder, params, capsys):
    counts = relabel.relabel_folder(folder, params.simulate.rule, None)
    assert counts.trace() == counts.sum() == 45
    assert "in 100.00% of 45 shots" in capsys.readouterr().out


def test_what_it_finds_is_written_with_the_keys(folder, params, tmp_path):
    relabel.relabel_folder(folder, params.simulate.rule, tmp_path / "labels.h5")
    with h5py.File(tmp_path / "labels.h5") as written, h5py.File(folder / "r70.h5") as raw:
        assert written["run"][5:].tolist() == [70] * 40
        assert written["evt.fiducials"][5:].tolist() == raw["evt.fiducials"][:].tolist()
        assert written[PEAKS_LABEL][5:].tolist() == raw[PEAKS_LABEL][:].tolist()
        np.testing.assert_allclose(written["acq.t1.ampl"][5:], raw["truth.t1"][:], rtol=1e-6)


def test_another_rule_disagrees(folder, params):
    deaf = params.simulate.rule.model_copy(update={"thresholds": (1e3, 1e3, 1e3)})
    counts = relabel.relabel_folder(folder, deaf, None)
    assert counts.trace() < 0.5 * 45
    assert counts[:, 1].sum() == 45  # everything is `no peaks`


def test_an_energy_in_whole_numbers_is_as_good(folder, params, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "raw")
    for path in copy.iterdir():
        with h5py.File(path, "r+") as file:
            energy = file["bld.L3energy"][:].round()
            del file["bld.L3energy"]
            file["bld.L3energy"] = energy.astype(np.int32)
    assert relabel.relabel_folder(copy, params.simulate.rule, None).trace() > 0.9 * 45


@pytest.mark.parametrize("value", [4, -2])
def test_a_stored_label_that_is_none_is_refused_and_not_counted_as_another(folder, params, tmp_path, value):
    copy = shutil.copytree(folder, tmp_path / "raw")
    with h5py.File(copy / "r70.h5", "r+") as file:
        file[PEAKS_LABEL][7] = value
    with pytest.raises(
        UserError, match=rf"r70\.h5: {PEAKS_LABEL}: not a class \(found {value} in row 7.*these shots -1$"
    ):
        relabel.relabel_folder(copy, params.simulate.rule, None)


def test_a_folder_without_raw_files_is_named(params, tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path}: no raw files "):
        relabel.relabel_folder(tmp_path, params.simulate.rule, None)


def test_files_without_waveforms_are_named(folder, params, tmp_path):
    with h5py.File(folder / "r69.h5") as source, h5py.File(tmp_path / "x.h5", "w") as target:
        for name in relabel.REQUIRED:
            if name != WAVEFORMS:
                target[name] = source[name][:]
    with pytest.raises(UserError, match=r"x\.h5: acq\.waveforms: missing .*"):
        relabel.relabel_folder(tmp_path, params.simulate.rule, None)
