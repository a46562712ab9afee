import ctypes
import shutil

import h5py
import numpy as np
import pytest

from tests import foreign_files
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.schema import ENERGY_LABEL, EVENT_KEY, PEAKS_LABEL, WAVEFORMS
from xtcav_ml.science.simulation import simulator
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import relabel


@pytest.fixture(scope="module")
def folder(tmp_path_factory, params):
    """Two files of simulated shots, without their frames."""
    folder = tmp_path_factory.mktemp("raw")
    for run, count in ((69, 8), (70, 40)):
        shots = simulator.simulate_shots(params.simulate, run, 0, count)
        with h5py.File(folder / f"r{run}.h5", "w") as file:
            for name in (*relabel.REQUIRED, *relabel.ENERGY):
                file[name] = shots[name]
            for peak in ("t0", "t1", "t2"):
                file[f"truth.{peak}"] = shots[f"acq.{peak}.ampl"]
    return folder


def test_simulated_labels_are_the_rules_own(folder, params, capsys):
    counts = relabel.relabel_folder(folder, params.simulate.rule, None)
    assert counts.trace() == counts.sum() == 48
    assert capsys.readouterr().out.count("in 100.00% of 48 shots") == 2  # by time and by energy


def test_what_it_finds_is_written_with_the_keys(folder, params, tmp_path):
    relabel.relabel_folder(folder, params.simulate.rule, tmp_path / "labels.h5")
    with h5py.File(tmp_path / "labels.h5") as written, h5py.File(folder / "r70.h5") as raw:
        assert written["run"][8:].tolist() == [70] * 40
        assert written["evt.fiducials"][8:].tolist() == raw["evt.fiducials"][:].tolist()
        for name in (PEAKS_LABEL, ENERGY_LABEL):
            assert written[name][8:].tolist() == raw[name][:].tolist()
        np.testing.assert_allclose(written["acq.t1.ampl"][8:], raw["truth.t1"][:], rtol=1e-6)


def test_shots_are_taken_some_at_a_time_to_the_same_bits(folder, params, tmp_path, monkeypatch):
    written = []
    for shots in (relabel.SHOTS, 7):
        monkeypatch.setattr(relabel, "SHOTS", shots)
        relabel.relabel_folder(folder, params.simulate.rule, tmp_path / "labels.h5")
        written.append((tmp_path / "labels.h5").read_bytes())
    assert written[0] == written[1]


@pytest.mark.forks
def test_waveforms_that_crash_hdf5_are_one_line(folder, params, monkeypatch):
    monkeypatch.setattr(relabel, "read_columns", lambda *_, **__: ctypes.string_at(0))
    with pytest.raises(UserError, match=r"r69\.h5: not a readable HDF5 file \(found a crash of HDF5 "):
        relabel.relabel_folder(folder, params.simulate.rule, None)


def test_another_rule_disagrees(folder, params):
    deaf = params.simulate.rule.model_copy(update={"thresholds": (1e3, 1e3, 1e3)})
    counts = relabel.relabel_folder(folder, deaf, None)
    assert counts.trace() < 0.5 * 48
    assert counts[:, 1].sum() == 48  # everything is `no peaks`


def test_an_energy_in_whole_numbers_is_as_good(folder, params, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "raw")
    for path in copy.iterdir():
        with h5py.File(path, "r+") as file:
            energy = file["bld.L3energy"][:].round()
            del file["bld.L3energy"]
            file["bld.L3energy"] = energy.astype(np.int32)
    assert relabel.relabel_folder(copy, params.simulate.rule, None).trace() > 0.9 * 48


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


LABELLED = {WAVEFORMS: "digitizer/waveforms", PEAKS_LABEL: "user/label"}
ENERGY = {"bld.L3energy": "bld/energy"}
FOREIGN: dict[str, dict] = {
    "notes": {"datasets": LABELLED},
    "smalldata": {"datasets": LABELLED},
    "psana2": {"datasets": LABELLED},
    "extra-data": {"datasets": LABELLED | ENERGY},
    "cxi": {"datasets": LABELLED | ENERGY | {"run": "@run"}},
    "nexus": {"datasets": LABELLED | ENERGY},
}


def write_foreign(kind, source, target):
    """Write simulated shots where files of a program have them; the waveforms packed, in another byte order."""
    with h5py.File(source) as raw, h5py.File(target, "w") as file:
        table = {name: raw[name][:] for name in raw}
        blank = np.zeros(len(table["run"]), dtype=int)
        foreign_files.KINDS[kind](file, table | {"xtcavimg": np.zeros((len(blank), 24, 20), "i2"), "lasing": blank})
        for name in [name for name in ("acq.peaksLabel", WAVEFORMS, "bld.L3energy") if name in file]:
            file.pop(name)
        waveforms = table[WAVEFORMS].astype(table[WAVEFORMS].dtype.newbyteorder(">"))
        file.create_dataset("digitizer/waveforms", data=waveforms, chunks=(8, *waveforms.shape[1:]), compression="gzip")
        file["user/label"] = table[PEAKS_LABEL].astype(float)
        file.attrs["run"] = table["run"][0]
        energy = Layout(preset=kind, **FOREIGN[kind]).source("bld.L3energy").path
        file.pop(energy, None)
        file[energy] = table["bld.L3energy"]


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_programs_are_relabelled_alike(kind, folder, params, tmp_path):
    relabel.relabel_folder(folder, params.simulate.rule, tmp_path / "plain.h5")
    (tmp_path / "raw").mkdir()
    for run in (69, 70):
        write_foreign(kind, folder / f"r{run}.h5", tmp_path / "raw" / f"r{run}.nxs")
    layout = Layout(preset=kind, **FOREIGN[kind])
    counts = relabel.relabel_folder(tmp_path / "raw", params.simulate.rule, tmp_path / "labels.h5", layout)
    assert counts.trace() == counts.sum() == 48
    with h5py.File(tmp_path / "labels.h5") as written, h5py.File(tmp_path / "plain.h5") as plain:
        absent = {name for name in (*EVENT_KEY, "run.index") if layout.source(name).absent}
        assert set(written) == set(plain) - absent - (
            {ENERGY_LABEL} if kind != "notes" else set()
        )  # others lack energy peaks
        for name in set(written) - ({"evt.fiducials"} if kind == "extra-data" else set()):
            np.testing.assert_array_equal(written[name][:], plain[name][:])


def test_files_without_energy_peaks_are_relabelled_by_time_alone(folder, params, tmp_path, capsys):
    copy = shutil.copytree(folder, tmp_path / "raw")
    with h5py.File(copy / "r69.h5", "r+") as file:
        del file["acq.e2.ampl"]
    relabel.relabel_folder(copy, params.simulate.rule, tmp_path / "labels.h5")
    assert capsys.readouterr().out.count("of 48 shots") == 1
    with h5py.File(tmp_path / "labels.h5") as written:
        assert ENERGY_LABEL not in written
        assert PEAKS_LABEL in written


def test_an_energy_label_that_is_none_is_refused(folder, params, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "raw")
    with h5py.File(copy / "r70.h5", "r+") as file:
        file[ENERGY_LABEL][1] = 7
    with pytest.raises(UserError, match=r"r70\.h5: acq\.enPeaksLabel: not a class \(found 7"):
        relabel.relabel_folder(copy, params.simulate.rule, None)
