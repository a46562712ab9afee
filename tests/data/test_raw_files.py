import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE, write_shots
from xtcav_ml.config.base import overridden
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.schema import IMAGE, TRUE_PULSES
from xtcav_ml.data import raw_files
from xtcav_ml.data.hdf5 import creating
from xtcav_ml.data.listing import PREDICTED_BY, list_files
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_file import RawFile
from xtcav_ml.pipeline import check, prepare, validate
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import scan, show


def data(folder):
    return DataParams(raw=str(folder), frame_shape=SHAPE, bad_files="fail")


def test_files_become_one_table(raw_folder, params):
    found = raw_files.open_set(data(raw_folder), params.prepare)
    assert [path.name for path in found.files] == ["a.h5", "b.hdf5", "dark.h5"]
    assert len(found.row) == 608
    assert found.columns["run"][found.file == 1].tolist() == [71] * 300
    assert found.row[found.file == 2].tolist() == list(range(8))
    assert raw_files.require_run(found, 68).tolist() == list(range(600, 608))


@pytest.mark.parametrize("shape", [SHAPE, (5, 5)])
def test_a_file_that_is_replaced_after_it_was_checked_is_refused(raw_folder, params, tmp_path, shape):
    found = raw_files.open_set(data(raw_folder), params.prepare)
    other = write_shots(tmp_path / "other.h5", run=70, count=300, first=300, shape=shape)
    other.rename(raw_folder / "a.h5")
    with raw_files.FrameReader(found) as reader:
        assert reader.read(300).shape == (1, *SHAPE)  # of b.hdf5, which is as it was
        with pytest.raises(UserError, match=r"a\.h5: changed while it was read"):
            reader.read(0)


def test_a_file_that_is_replaced_while_it_is_checked_is_bad(raw_folder, params, tmp_path, monkeypatch):
    other = write_shots(tmp_path / "other.h5", run=70, count=300, shape=(5, 5))
    real = RawFile.problems

    def replaced(raw, *rest):
        problems = real(raw, *rest)
        if raw.path.name == "a.h5":
            other.rename(raw.path)
        return problems

    monkeypatch.setattr(RawFile, "problems", replaced)
    with pytest.raises(UserError, match=r"a\.h5: changed while it was read"):
        raw_files.open_set(data(raw_folder), params.prepare)


def test_a_file_that_is_replaced_before_copies_are_compared_is_refused(raw_folder, params, tmp_path):
    shutil.copy(raw_folder / "a.h5", raw_folder / "copy.h5")
    found = raw_files.open_set(data(raw_folder), params.prepare)
    write_shots(tmp_path / "other.h5", run=70, count=300).rename(raw_folder / "copy.h5")
    with pytest.raises(UserError, match=r"copy\.h5: changed while it was read"):
        raw_files.require_same_content(found)


def test_the_true_label_comes_along_where_every_file_has_it(raw_folder, params):
    shots = {}
    for path in sorted(raw_folder.iterdir()):
        with h5py.File(path, "r+") as file:
            shots[path.name] = file["truth.label"] = file["acq.peaksLabel"][:] // 2
    found = raw_files.survey(list_files(raw_folder), data(raw_folder), params.prepare)
    np.testing.assert_array_equal(found.columns["truth.label"], np.concatenate(list(shots.values())))
    other = params.prepare.model_copy(update={"label": "lasing", "classes": ("no", "yes")})
    assert "truth.label" not in raw_files.survey(list_files(raw_folder), data(raw_folder), other).columns
    with h5py.File(path, "r+") as file:
        del file["truth.label"]
    found = raw_files.survey(list_files(raw_folder), data(raw_folder), params.prepare)
    assert "truth.label" not in found.columns
    assert len(found.files) == 3


def test_what_simulated_waveforms_depend_on_comes_along_where_the_files_are_simulated(raw_folder, params, monkeypatch):
    for path in sorted(raw_folder.iterdir()):
        with h5py.File(path, "r+") as file:
            file["truth.energy1"] = file["truth.energy2"] = np.arange(len(file["run"])) / 2
    monkeypatch.chdir(raw_folder.parent)
    SIMULATED.parent.mkdir(parents=True)
    raw_folder.rename(SIMULATED)
    for folder, names in ((SIMULATED, set(TRUE_PULSES)), (SIMULATED.absolute(), set())):
        table = raw_files.survey(list_files(folder), data(folder), params.prepare).columns
        assert table.keys() & set(TRUE_PULSES) == names
    simulated = raw_files.survey(list_files(SIMULATED), data(SIMULATED), params.prepare).columns
    assert simulated["truth.energy1"][:3].tolist() == [0, 0.5, 1]


def test_files_are_listed_by_content_in_all_subfolders(raw_folder, params):
    shown = {"sub/c.H5": 72, "sub/deeper/d.nxs": 73, "e": 74, "sub/a.h5": 75, "f.dat": 76}
    for number, (name, run) in enumerate(shown.items()):
        (raw_folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_shots(raw_folder / name, run=run, count=5 + number)
    with h5py.File(raw_folder / "g.bin", "w", userblock_size=1024) as file, h5py.File(raw_folder / "a.h5") as source:
        for name in source:
            file[name] = np.where(name == "run", 77, source[name][:]).astype(source[name].dtype)
    (raw_folder / "sub" / "up").symlink_to(raw_folder)  # does not lead round and round
    listing = list_files(raw_folder)
    names = [str(path.relative_to(raw_folder)) for path in listing.files]
    assert names == sorted([*shown, "a.h5", "b.hdf5", "dark.h5", "g.bin"], key=lambda name: name.split("/"))
    assert listing.note == ""
    found = raw_files.survey(listing, data(raw_folder), params.prepare)
    assert not found.bad
    assert list(found.names) == names
    counts = {name: int((found.columns["file"] == name).sum()) for name in names}
    assert counts["sub/a.h5"] == 8
    assert counts["a.h5"] == counts["g.bin"] == 300


def test_hidden_files_and_what_is_no_hdf5_are_ignored_and_counted(raw_folder, params):
    for name in (".DS_Store", "._a.h5", "notes.txt", "cut.txt", ".sync/b.h5", "__MACOSX/._b.hdf5"):
        (raw_folder / name).parent.mkdir(exist_ok=True)
        (raw_folder / name).write_bytes(b"\x89HDF" if name == "cut.txt" else b"\0\5\x16\7")
    shutil.copy(raw_folder / "a.h5", raw_folder / ".sync/c.h5")
    os.mkfifo(raw_folder / "pipe")  # nobody waits for it
    listing = list_files(raw_folder)
    assert [path.name for path in listing.files] == ["a.h5", "b.hdf5", "dark.h5"]
    assert len(listing.ignored) == 8
    assert listing.note.startswith("ignored 8 ")
    assert listing.note.endswith(": .DS_Store, ._a.h5, .sync/b.h5, .sync/c.h5, __MACOSX/._b.hdf5, ...")
    assert raw_files.open_set(data(raw_folder), params.prepare).listing == listing


def test_predictions_among_the_raw_files_are_ignored_and_counted(raw_folder, params):
    (raw_folder / "predictions").mkdir()
    shutil.copy(raw_folder / "a.h5", raw_folder / "predictions" / "raw.h5")
    with creating(raw_folder / "predictions" / "a.predictions.h5") as file:
        file.attrs[PREDICTED_BY] = "0" * 64
    listing = raw_files.survey(list_files(raw_folder), data(raw_folder), params.prepare).listing
    assert [path.name for path in listing.files] == ["a.h5", "b.hdf5", "dark.h5", "raw.h5"]
    assert listing.note.endswith(": predictions/a.predictions.h5")
    (raw_folder / "predictions" / "raw.h5").unlink()
    with pytest.raises(UserError, match=r"predictions: no raw files \(found ignored 1 .*a\.predictions\.h5"):
        raw_files.survey(list_files(raw_folder / "predictions"), data(raw_folder), params.prepare)


def test_a_folder_that_cannot_be_read_is_no_silent_gap(raw_folder, monkeypatch):
    (raw_folder / "closed").mkdir()
    real = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UserError, match=r"raw/closed: not readable .*Permission denied.*Fix: "):
        list_files(raw_folder)


def test_scan_check_and_prepare_agree_on_files_in_subfolders(raw_folder, params, tmp_path, capsys):
    (raw_folder / "later").mkdir()
    (raw_folder / "b.hdf5").rename(raw_folder / "later" / "a.H5")  # the name of another file, in a folder of its own
    (raw_folder / "notes.txt").write_text("notes")
    sizes = {"kernel": 3, "pool_window": 2, "pool_stride": 1}
    small = {f"train.model.blocks.{block}.{name}": size for block in (0, 1) for name, size in sizes.items()}
    train = overridden(params.train, "train", small)
    given = params.model_copy(update={"data": data(raw_folder), "train": train})
    scanned = scan.count_shots(list_files(raw_folder), given.data, given.prepare)
    check.check_raw_files(given, tmp_path / "data.json")
    prepare.prepare_files(given.data, given.prepare, tmp_path / "prepared")
    assert capsys.readouterr().out.count(scanned["ignored"]) == 2
    checked = json.loads((tmp_path / "data.json").read_text())
    assert checked["files"] == {"a.h5": 300, "dark.h5": 8, "later/a.H5": 300}
    assert (scanned["files"], scanned["shots"]) == (3, checked["shots"])
    assert re.fullmatch(r"ignored 1 .*: notes\.txt", scanned["ignored"])
    kept = 0
    for split in ("train", "validation", "test"):
        with PreparedFile(tmp_path / "prepared" / f"{split}.h5") as prepared:
            assert prepared.shots == scanned["kept"][split]
            assert set(prepared.source_files) == {"a.h5", "later/a.H5"}
            of = prepared.column("source.file")
            later = prepared.column("run") == 71
            assert all(prepared.source_files[int(number)] == "later/a.H5" for number in of[later])
            kept += int(later.sum())
    assert kept
    show.draw_sheet(tmp_path / "prepared" / "train.h5", raw_folder, tmp_path / "sheet.png", per_class=2)


def test_every_bad_file_is_in_the_one_report(raw_folder, params):
    for name in ("x.h5", "y.h5"):
        (raw_folder / name).write_bytes(b"broken")
    write_shots(raw_folder / "z.h5", run=72, count=3, shape=(5, 5))
    with pytest.raises(UserError) as error:
        raw_files.open_set(data(raw_folder), params.prepare)
    broken, shaped = str(error.value).split("; ")
    assert broken.startswith(f"{raw_folder / 'x.h5'}, {raw_folder / 'y.h5'}: not a readable HDF5 file (found ")
    assert shaped.startswith(f"{raw_folder / 'z.h5'}: {IMAGE}: wrong shape (found (3, 5, 5), ")


def test_many_bad_files_make_a_line_for_each_kind_of_problem(raw_folder):
    def of(name, *lines):
        return {raw_folder / name: [f"{raw_folder / name}: {line}" for line in lines]}

    problems, missing = {}, "missing (found no such path, expected a dataset). Fix: x"
    for number in range(100):
        problems |= of(f"{number}.h5", f"{IMAGE}: wrong shape (found ({number}, 5, 5), expected z). Fix: y")
    for number in range(33):
        problems |= of(f"f{number}.h5", "b: odd", f"run: {missing}", f"{IMAGE}: {missing}")
    lines = raw_files.grouped(problems)
    more = f"{raw_folder / 'f0.h5'}, {raw_folder / 'f1.h5'} and 31 more files"
    assert lines == [
        f"{raw_folder / '0.h5'}, {raw_folder / '1.h5'} and 98 more files: {IMAGE}: wrong shape (found (0, 5, 5), expected z). "
        "Fix: y",
        f"{more}: run, {IMAGE}: {missing}",
        f"{more}: b: odd",
    ]
    kinds = {}
    for number in range(133):
        kinds |= of(f"{number}.h5", f"kind {number}")
    assert len(raw_files.grouped(kinds)) <= 20
    assert raw_files.grouped(kinds)[-1] == "and 118 problems of 118 other kinds"


@pytest.mark.parametrize("value", [-2, 4, 100])
def test_labels_that_are_no_class_are_named_with_their_row(value):
    labels = np.array([0, 3, -1, value, 2])
    (line,) = raw_files.label_problems("run.h5", "acq.peaksLabel", labels, ("a", "b", "c", "d"))
    assert f"found {value} in row 3, 1 such rows" in line
    assert raw_files.label_problems("run.h5", "acq.peaksLabel", labels[:3], ("a", "b", "c", "d")) == []


def test_unsigned_labels_are_compared_as_numbers():
    assert raw_files.label_problems("run.h5", "x", np.array([0, 1, 255], np.uint8), ("a", "b")) != []
    assert raw_files.label_problems("run.h5", "x", np.array([0, 1, 1], np.uint8), ("a", "b")) == []


def test_bad_files_may_be_left_out_and_are_told(raw_folder, params):
    (raw_folder / "x.h5").write_bytes(b"broken")
    skip = data(raw_folder).model_copy(update={"bad_files": "skip"})
    found = raw_files.open_set(skip, params.prepare)
    assert [path.name for path in found.files] == ["a.h5", "b.hdf5", "dark.h5"]
    assert [path.name for path in found.bad] == ["x.h5"]


def test_a_folder_of_bad_files_only_is_refused_all_the_same(tmp_path, params):
    (tmp_path / "x.h5").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"x\.h5"):
        raw_files.open_set(data(tmp_path).model_copy(update={"bad_files": "skip"}), params.prepare)


def later(path, seconds=10**6):
    """Move the shots of a file to a later time, as another experiment's."""
    with h5py.File(path, "r+") as file:
        file["evt.seconds"][...] += seconds


def test_check_refuses_a_dark_run_of_two_experiments(raw_folder, params, tmp_path, monkeypatch):
    (raw_folder / "second").mkdir()
    later(write_shots(raw_folder / "second/dark.h5", run=68, count=8, lasing=0))
    monkeypatch.setattr(validate, "require_trainable", lambda *_: None)  # whose network is too large for these frames
    files = r"dark\.h5 and second/dark\.h5.*run 70 in a\.h5"
    with pytest.raises(UserError, match=rf"^prepare\.dark_run: run 68 .*{files}.*Fix: "):
        check.check_raw_files(params.model_copy(update={"data": data(raw_folder)}), tmp_path / "data.json")


def test_a_dark_run_that_is_spread_over_files_is_one(raw_folder, params):
    write_shots(raw_folder / "dark2.h5", run=68, count=600, first=8, lasing=0)
    later(write_shots(raw_folder / "earlier.h5", run=5, count=8))
    found = raw_files.open_set(data(raw_folder), params.prepare)
    assert len(raw_files.require_run(found, 68)) == 608
