"""Rows that hold no shot, and pixels that are no numbers: scan, check, prepare and relabel agree on what is left out."""

import json
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE
from tests.data.test_layouts import at, everywhere, mapped, outcome, parameters, plain_folder, stored, without
from xtcav_ml.config.schema import EVENT_KEY, IMAGE, PEAKS_LABEL
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import list_files
from xtcav_ml.data.raw_file import file_problems, read_columns
from xtcav_ml.pipeline import check, prepare
from xtcav_ml.science import selection
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import scan

SECONDS, NANOSECONDS, FIDUCIALS = EVENT_KEY
PROBLEM = "a pixel is no number that can be kept"
BLANK = 7  # rows put into each file
ALL = ("xtcavimg", "acq.peaksLabel", "lasing", "bld.L3energy", *EVENT_KEY, "run", "run.index")


def filled(values: dict[str, object], default: object = 0) -> Callable[[h5py.File], None]:
    """Put BLANK rows into the middle of a file that hold no shot: zeros, or what `values` has."""

    def fill(file: h5py.File) -> None:
        for name in ALL:
            old = file[name][:]
            value = values.get(name, default)
            kind = np.result_type(old.dtype, np.min_scalar_type(value)) if name != IMAGE else old.dtype
            blank = np.full((BLANK, *old.shape[1:]), value if name != IMAGE else 0, kind)
            del file[name]
            file[name] = np.concatenate([old[:5].astype(kind), blank, old[5:].astype(kind)])

    return fill


def numbered(first: int) -> Callable[[h5py.File], None]:
    """Number the shots in their fiducials, which then suffice as a key."""
    return lambda file: mapped(FIDUCIALS, lambda values: values + first + 10**6 * (file["run"][0] - 68))(file)


def no_value(name: str, number: int) -> Callable[[h5py.File], None]:
    """Name the number of the blank rows as the fill value of a dataset."""

    def declare(file: h5py.File) -> None:
        filled({name: number})(file)
        stored(name, fillvalue=number)(file)

    return declare


def preallocated(file: h5py.File) -> None:
    """Declare more rows than were written, as a data acquisition that was killed."""
    for name in ALL:
        values = file[name][:]
        del file[name]
        rows = len(values)
        dataset = file.create_dataset(
            name,
            (rows + BLANK, *values.shape[1:]),
            values.dtype,
            chunks=(1, *values.shape[1:]),
            maxshape=(None, *values.shape[1:]),
        )
        dataset[:rows] = values


def packed(file: h5py.File) -> None:
    filled({SECONDS: -1, NANOSECONDS: -1})(file)
    high, low = file[SECONDS][:].astype("i8"), file[NANOSECONDS][:].astype("i8")
    file["time"] = np.where(high < 0, -1, (high << 32) | low)
    without(SECONDS, NANOSECONDS)(file)


CASES: dict[str, tuple[Callable[[h5py.File], None], dict]] = {
    "zeros": (filled({}), {}),
    "fills in all": (filled({}, default=-99999), {}),
    "nan seconds": (filled({SECONDS: np.nan, PEAKS_LABEL: 77}), {}),
    "nan nanoseconds": (filled({NANOSECONDS: np.nan, SECONDS: 1}), {}),
    "nan fiducials and run": (filled({FIDUCIALS: np.nan, "run": np.nan, SECONDS: 1}), {}),
    "negative fiducials": (filled({FIDUCIALS: -1, SECONDS: 1, PEAKS_LABEL: -12}), {}),
    "a named number": (
        filled({FIDUCIALS: 131071, SECONDS: 1}),
        at(evt_fiducials={"path": FIDUCIALS, "missing": (131071,)}),
    ),
    "a fill value": (no_value(FIDUCIALS, 99999), {}),
    "unwritten": (preallocated, {}),
    "packed": (
        packed,
        at(evt_seconds={"path": "time", "half": "high"}, evt_nanoseconds={"path": "time", "half": "low"}),
    ),
    "numbers only": (filled({}), at(evt_seconds=None, evt_nanoseconds=None)),
}


@pytest.fixture
def folder(tmp_path):
    return plain_folder(tmp_path / "raw")


@pytest.mark.parametrize("name", CASES)
def test_rows_without_an_event_key_are_dropped_and_counted_alike_everywhere(name, folder, params, tmp_path, capsys):
    change, layout = CASES[name]
    everywhere(numbered(1), folder)
    expected = outcome(parameters(params, folder), tmp_path / "plain")
    everywhere(change, folder)
    given = parameters(params, folder, layout)
    scanned = scan.count_shots(list_files(folder), given.data, given.prepare)
    assert scanned["left_out"]["no event key"] == 3 * BLANK
    assert scanned["usable"] + sum(scanned["left_out"].values()) == scanned["shots"] == 248 + 3 * BLANK
    assert "-1" not in scanned["shots_by_run"]
    capsys.readouterr()
    found = outcome(given, tmp_path)
    shown = capsys.readouterr().out
    assert shown.count(f"{3 * BLANK} no event key") == 2  # check and prepare
    checked = json.loads((tmp_path / "data.json").read_text())
    assert checked["no_event_key"] == 3 * BLANK
    assert checked["shots"] == scanned["shots"]
    for split, columns in expected.items():
        for column in ("image", "label", "run", "run.index", "frame.signal"):
            np.testing.assert_array_equal(found[split][column], columns[column], err_msg=column)


def test_a_plain_file_has_no_such_line(folder, params, tmp_path, capsys):
    outcome(parameters(params, folder), tmp_path)
    assert "no event key" not in capsys.readouterr().out
    assert "no_event_key" not in json.loads((tmp_path / "data.json").read_text())


def test_a_single_zero_without_a_time_is_the_number_of_a_shot(folder, params):
    layout = at(evt_seconds=None, evt_nanoseconds=None)
    everywhere(numbered(0), folder)
    given = parameters(params, folder, layout)
    scanned = scan.count_shots(list_files(folder), given.data, given.prepare)
    assert "no event key" not in scanned["left_out"]


def test_frames_that_were_not_written_for_a_shot_are_refused_by_row(folder, params):
    with h5py.File(folder / "amo86815-r0070.h5", "r+") as file:
        preallocated(file)
        rows = len(file["run"])
        for name in ALL:
            if name != IMAGE:
                file[name][rows - BLANK :] = file[name][:BLANK] + (10**6 if name == SECONDS else 0)
    given = parameters(params, folder)
    with pytest.raises(
        UserError, match=rf"r0070\.h5: {IMAGE}: not wholly written \(found 7 of 127 rows unwritten, row 120 "
    ):
        raw_files.open_set(given.data, given.prepare)


def test_without_a_key_rows_that_were_not_written_hold_no_shot(folder):
    path, expected = (
        folder / "amo86815-r0070.h5",
        {IMAGE: raw_files.replace(raw_files.SCHEMA[IMAGE], row_shape=SHAPE), "bld.L3energy": raw_files.NUMBER},
    )
    with h5py.File(path, "r+") as file:
        energy = file["bld.L3energy"][:]
        preallocated(file)
    assert file_problems(path, expected) == []
    columns = read_columns(path, {"bld.L3energy": raw_files.NUMBER})
    np.testing.assert_array_equal(columns["bld.L3energy"], np.append(energy, [np.nan] * BLANK))
    with h5py.File(path, "r+") as file:
        del file[IMAGE]
        file.create_dataset(IMAGE, (len(energy) + BLANK, *SHAPE), "i2")
    (line,) = file_problems(path, expected)
    assert "not wholly written (found 127 of 127 rows unwritten, row 0 the first" in line


@pytest.fixture
def calibrated(folder):
    """Frames of floats; in each lasing run the pixels of some shots are no numbers."""
    everywhere(mapped(IMAGE, lambda values: values.astype(np.float32) + 0.25), folder)
    for run, bad in ((70, np.nan), (71, np.inf)):
        with h5py.File(folder / f"amo86815-r00{run}.h5", "r+") as file:
            file[IMAGE][10:12, 3, 4] = bad
    return folder


def test_check_finds_pixels_that_are_no_numbers_and_its_cures_work(calibrated, params, tmp_path, capsys):
    given = parameters(params, calibrated)
    scan.scan_folder(calibrated, given.data, given.prepare, as_json=False)
    assert "frames of 3 files may hold what is no number: `xtcav check` reads them" in capsys.readouterr().out
    raw_set = raw_files.open_set(given.data, given.prepare)
    rows = np.concatenate(list(selection.select(raw_set.columns, given.prepare).splits.values()))
    used = int(((raw_set.columns["run"][rows] == 70) & (raw_set.row[rows] // 2 == 5)).sum())
    with pytest.raises(UserError) as error:
        check.check_raw_files(given, tmp_path / "data.json")
    (line,) = str(error.value).split("; ")  # of both files
    assert f"r0070.h5, {calibrated}/amo86815-r0071.h5: {IMAGE}: {PROBLEM} (found nan in row 1" in line
    assert f", {used} such frames, expected " in line
    with pytest.raises(UserError, match=rf"r007.\.h5: {IMAGE}: {PROBLEM} \(found (nan|inf) in row 1"):
        prepare.prepare_files(given.data, given.prepare, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    everywhere(mapped("lasing", lambda values: np.where(np.arange(len(values)) // 2 == 5, 0, values)), calibrated)
    outcome(given, tmp_path / "masked")


@pytest.mark.parametrize("kind", ["u4", "i8", "u8"])
def test_check_finds_pixels_of_more_than_32_bits(kind, folder, params, tmp_path):
    everywhere(mapped(IMAGE, lambda values: values.astype(kind)), folder)
    with h5py.File(folder / "amo86815-r0070.h5", "r+") as file:
        file[IMAGE][:, 3, 4] = 2**32 - 1
    with pytest.raises(UserError, match=rf"r0070\.h5: {IMAGE}: {PROBLEM} \(found 4294967295 in row "):
        check.check_raw_files(parameters(params, folder), tmp_path / "data.json")
