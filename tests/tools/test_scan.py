import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE, write_shots
from xtcav_ml.config.data import DataParams
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import list_files
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import scan

DATA = DataParams(raw="unused", frame_shape=SHAPE, bad_files="fail")


def test_counts_add_up(raw_folder, params):
    scanned = scan.count_shots(list_files(raw_folder), DATA, params.prepare)
    assert (scanned["files"], scanned["bad_files"], scanned["shots"]) == (3, 0, 608)
    assert scanned["shots_by_run"] == {"68": 8, "70": 300, "71": 300}
    assert scanned["usable"] + sum(scanned["left_out"].values()) == 608
    assert scanned["left_out"]["dark run"] == 8
    shots = [label["shots"] for label in scanned["labels"].values()]
    assert sum(shots) == scanned["usable"]
    assert scanned["largest_class"] == max(shots) / sum(shots)


def test_what_prepare_would_keep_is_what_it_keeps(raw_folder, params, capsys):
    balance = params.prepare.balance.model_copy(update={"ratio": 1.0})
    rules = params.prepare.model_copy(update={"balance": balance})
    files = list_files(raw_folder)
    scanned = scan.count_shots(files, DATA, rules)
    columns = raw_files.survey(files, DATA, rules).columns
    chosen = selection.select(columns, rules).splits
    assert scanned["kept"] == {name: len(rows) for name, rows in chosen.items()}
    for split, rows in chosen.items():
        counts = np.bincount(columns["acq.peaksLabel"][rows], minlength=4).tolist()
        assert [label["kept"][split] for label in scanned["labels"].values()] == counts
    assert (
        len({label["kept"]["train"] for label in scanned["labels"].values()}) == 1
    )  # balanced, and the others are not
    assert len({label["kept"]["test"] for label in scanned["labels"].values()}) > 1
    scan.scan_folder(raw_folder, DATA, rules, as_json=False)
    assert f"prepare would keep {scanned['kept']['train']} train, " in capsys.readouterr().out


def test_what_prepare_would_refuse_is_told_and_described_all_the_same(tmp_path, params, capsys):
    write_shots(tmp_path / "a.h5", run=70, count=6)
    assert scan.scan_folder(tmp_path, DATA, params.prepare, as_json=False)
    said = capsys.readouterr().out
    assert "6 shots in 1 files" in said
    assert "prepare would refuse them: acq.peaksLabel: too few shots in a set" in said


def test_bad_files_are_listed_and_the_good_ones_counted(raw_folder, params, capsys):
    (raw_folder / "torn.h5").write_bytes(b"\x89HDF")
    good = scan.scan_folder(raw_folder, DATA, params.prepare, as_json=False)
    said = capsys.readouterr().out
    assert not good
    assert "608 shots in 4 files" in said
    assert "bad: " in said
    assert "torn.h5" in said


def test_a_folder_of_bad_files_only_is_still_described(tmp_path, params):
    (tmp_path / "torn.h5").write_bytes(b"")
    scanned = scan.count_shots(list_files(tmp_path), DATA, params.prepare)
    assert (scanned["shots"], scanned["usable"], scanned["largest_class"]) == (0, 0, None)
    scan.scan_folder(tmp_path, DATA, params.prepare, as_json=True)


def test_duplicates_are_counted_once(raw_folder, params):
    write_shots(raw_folder / "again.h5", run=70, count=300)
    scanned = scan.count_shots(list_files(raw_folder), DATA, params.prepare)
    assert scanned["left_out"]["duplicates"] == 300


def test_a_folder_that_is_not_there_is_named_with_the_fix(tmp_path, params):
    with pytest.raises(UserError, match=r"/ nowhere: not readable .*Fix: correct data\.raw"):
        scan.scan_folder(tmp_path / " nowhere", DATA, params.prepare, as_json=False)
    with pytest.raises(
        UserError, match=rf"^{tmp_path}: no raw files \(found an empty folder, expected HDF5\)\. Fix: copy"
    ):
        scan.scan_folder(tmp_path, DATA, params.prepare, as_json=False)


def test_a_full_set_of_the_notes_needs_no_images(tmp_path, params):
    # 133 files, 66,153 shots, 55 GB of frames that are declared but never written: sparse on disk
    rng = np.random.default_rng(0)
    for number in range(133):
        count = 549 if number == 0 else 497
        index = np.arange(count) + 600 * number
        with h5py.File(tmp_path / f"r{number}.h5", "w") as file:
            file.create_dataset("xtcavimg", (count, 726, 568), "i2", chunks=(1, 726, 568), fillvalue=0)
            file["acq.peaksLabel"] = rng.choice([-1, 0, 1, 2, 3], count, p=[0.42, 0.06, 0.04, 0.25, 0.23])
            file["lasing"] = np.ones(count, int)
            file["run"], file["run.index"] = np.full(count, 70), index
            file["evt.seconds"], file["evt.nanoseconds"], file["evt.fiducials"] = index // 120, index % 120, index
    scanned = scan.count_shots(
        list_files(tmp_path), DataParams(raw="x", frame_shape=(726, 568), bad_files="fail"), params.prepare
    )
    assert (scanned["shots"], scanned["bad_files"]) == (66_153, 0)
    assert scanned["usable"] / scanned["shots"] == pytest.approx(0.58, abs=0.01)
