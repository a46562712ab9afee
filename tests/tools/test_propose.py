import json
import shutil

import h5py
import numpy as np
import pytest

from tests import foreign_files
from tests.conftest import ROOT, SHAPE
from xtcav_ml.config.base import load_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.layout import PRESETS
from xtcav_ml.data import raw_files
from xtcav_ml.data.structure import suspects
from xtcav_ml.tools import scan

DATA = DataParams(raw="raw", frame_shape=(726, 568), bad_files="fail")


@pytest.fixture
def params_file(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path / "params.yaml"


@pytest.mark.parametrize("kind", [kind for kind in foreign_files.KINDS if kind != "notes"])
def test_the_proposed_layout_of_each_program_reads_its_files(tmp_path, params, params_file, kind, capsys):
    folder = foreign_files.write(tmp_path / "raw", kind)
    text = params_file.read_text()
    assert not scan.scan_folder(folder, DATA, params.prepare, as_json=False)
    shown = capsys.readouterr().out
    assert "3 files with the datasets of " in shown
    assert scan.scan_folder(folder, DATA, params.prepare, as_json=False, params_file=params_file)
    data = load_section("data", DataParams, params_file)
    assert data.layout.preset == kind
    assert data.frame_shape == SHAPE
    assert data.raw == str(folder)
    written = params_file.read_text()
    assert "  frame_shape: [24, 20]       # rows (energy)" in written
    old, new = text.splitlines(), written.splitlines()
    added = new.index("  layout:")
    layout = [line for line in new[added:] if line.startswith("    ")][: len(new) - len(old) - 1]
    kept = new[:added] + new[added + 1 + len(layout) :]
    assert [before for before, after in zip(old, kept, strict=True) if before != after] == [
        line for line in old if line.startswith(("  raw: ", "  frame_shape: "))
    ]
    raw_set = raw_files.open_set(data, params.prepare)
    plain = foreign_files.write(tmp_path / "plain", "notes")
    expected = raw_files.open_set(data.model_copy(update={"raw": str(plain), "layout": DATA.layout}), params.prepare)
    assert not raw_set.bad
    absent = [name for name in PRESETS[kind] if data.layout.source(name).absent]
    for name in set(expected.columns) - set(absent) - {"evt.seconds", "evt.nanoseconds", "evt.fiducials"}:
        np.testing.assert_array_equal(raw_set.columns[name], expected.columns[name])
    for number in range(3):
        rows = np.arange(8)
        with raw_set.frames(number) as frames, expected.frames(number) as others:
            np.testing.assert_array_equal(np.floor(frames.read(rows)), others.read(rows))


def test_what_no_dataset_holds_is_named(tmp_path, params, capsys):
    folder = foreign_files.write(tmp_path / "raw", "cxi")
    for path in folder.iterdir():
        with h5py.File(path, "r+") as file:
            del file["entry_1/result_1/peaksLabel"]
    scan.scan_folder(folder, DATA, params.prepare, as_json=False)
    shown = capsys.readouterr().out
    assert "  acq.peaksLabel: no such dataset; name it in data.layout.datasets" in shown
    assert '"preset": "cxi"' in shown


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.r_[np.arange(100), [-999] * 5], (-999,)),
        (np.r_[np.linspace(0, 1, 100), [9999.0] * 5], (9999.0,)),
        (np.r_[np.linspace(0, 1, 100), [1e30] * 5, [-1e30] * 5], (-1e30, 1e30)),
        (np.r_[1_440_000_000 + np.arange(100), [0] * 5], (0,)),
        (np.r_[np.arange(100) % 4, [-1] * 50], ()),
        (np.r_[np.arange(100), [-999]], ()),
        (np.arange(100), ()),
        (np.zeros(100), ()),
        (np.array([1, 1, -999]), ()),
        (np.r_[np.full(50, np.nan), np.arange(100), [-999] * 5], (-999,)),
    ],
)
def test_numbers_far_outside_the_others_that_are_repeated_are_suspected(values, found):
    assert suspects(values) == found


def test_suspected_numbers_are_shown(tmp_path, params, capsys):
    folder = foreign_files.write(tmp_path / "raw", "smalldata")
    for path in folder.iterdir():
        with h5py.File(path, "r+") as file:
            file["ebeam/L3_energy"][: len(file["event_time"]) // 2] = -9999
    scan.scan_folder(folder, DATA, params.prepare, as_json=True)
    (structure,) = json.loads(capsys.readouterr().out)["structures"]
    suspected = {row["path"]: row["suspects"] for row in structure["datasets"] if row["suspects"]}
    assert suspected == {"ebeam/L3_energy": [-9999.0]}


def compound(file: h5py.File, table: foreign_files.Shots) -> None:
    """All that is known of a shot in one table, as pandas and PyTables write it."""
    names = {"fiducials": "evt.fiducials", "peaksLabel": "acq.peaksLabel", "lasing": "lasing", "event_time": "time"}
    table = table | {"time": foreign_files.packed(table)}
    rows = np.zeros(len(table["run"]), [(name, table[source].dtype) for name, source in names.items()])
    for name, source in names.items():
        rows[name] = table[source]
    file["data/events"], file["frames"] = rows, table["xtcavimg"]


def named_runs(file: h5py.File, table: foreign_files.Shots) -> None:
    foreign_files.smalldata(file, table)
    file["run"] = np.array([f"run{run}".encode() for run in table["run"]], dtype=h5py.string_dtype())
    file["xtcavimg"] = file["xtcav/image"]


@pytest.mark.parametrize("write", [compound, named_runs])
def test_a_proposal_loses_no_event_key(tmp_path, params, params_file, write, monkeypatch):
    monkeypatch.setitem(foreign_files.KINDS, "notes", write)
    folder = foreign_files.write(tmp_path / "raw", "notes")
    assert scan.scan_folder(folder, DATA, params.prepare, as_json=False, params_file=params_file)
    raw_set = raw_files.open_set(load_section("data", DataParams, params_file), params.prepare)
    monkeypatch.undo()
    plain = foreign_files.write(tmp_path / "plain", "notes")
    expected = raw_files.open_set(DATA.model_copy(update={"raw": str(plain), "frame_shape": SHAPE}), params.prepare)
    for name in ("evt.seconds", "evt.nanoseconds", "evt.fiducials", "acq.peaksLabel", "lasing", "run", "run.index"):
        np.testing.assert_array_equal(raw_set.columns[name], expected.columns[name])


def test_a_proposal_reads_files_of_one_frame_and_takes_no_table_for_a_label(tmp_path, params, params_file, capsys):
    folder = tmp_path / "raw"
    folder.mkdir()
    for run in (68, 70):
        table = foreign_files.shots(run, 5, lasing=int(run != 68))
        for shot in range(5):
            with h5py.File(folder / f"shot-r{run}-{shot}.h5", "w") as file:
                file["image"], file["user/lasing"] = table["xtcavimg"][shot], int(table["lasing"][shot])
                file["peaksLabel"], file["pulses/lasing"] = int(table["acq.peaksLabel"][shot]), np.zeros((3, 4))
    scan.scan_folder(folder, DATA, params.prepare, as_json=False, params_file=params_file)
    data = load_section("data", DataParams, params_file)
    assert data.frame_shape == SHAPE
    assert data.layout.source("xtcavimg").path == "image"
    assert data.layout.source("lasing").path == "user/lasing"
    raw_set = raw_files.open_set(data, params.prepare)
    assert len(raw_set.row) == 10
    with raw_set.frames(9) as frames:
        np.testing.assert_array_equal(frames.read(np.arange(1))[0], foreign_files.shots(70, 5)["xtcavimg"][4])
