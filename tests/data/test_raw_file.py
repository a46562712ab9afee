import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SHAPE, write_shots
from xtcav_ml.config.layout import Layout, Source
from xtcav_ml.config.schema import EVENT_KEY, IMAGE, PEAKS_LABEL, SCHEMA, Dataset
from xtcav_ml.data import raw_column
from xtcav_ml.data.raw_dataset import Folder, Misfit
from xtcav_ml.data.raw_file import KEY, file_problems, read_columns
from xtcav_ml.data.raw_frames import read_frames
from xtcav_ml.system.errors import UserError

REQUIRED = {IMAGE: Dataset("int16", SHAPE, ""), PEAKS_LABEL: SCHEMA[PEAKS_LABEL], "run": SCHEMA["run"]}
KNOWN = {**SCHEMA, IMAGE: REQUIRED[IMAGE]}


@pytest.fixture
def path(tmp_path):
    return write_shots(tmp_path / "shots.h5", run=70, count=6)


def replace(path, name, **how):
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, **how)


def test_a_good_file_has_no_problem(path):
    assert file_problems(path, REQUIRED) == []


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        (IMAGE, {"data": np.zeros((6, 3, 3), np.int16)}, "wrong shape (found (6, 3, 3), expected (shots, 24, 20))"),
        (IMAGE, {"data": np.zeros((5, *SHAPE), np.int16)}, "datasets differ in their number of rows (found "),
        (PEAKS_LABEL, {"data": np.zeros((6, 2), int)}, "wrong shape (found (6, 2), expected (shots))"),
        (PEAKS_LABEL, {"data": np.zeros(1, int)}, "datasets differ in their number of rows (found 1 in acq.peaksLabel"),
        (PEAKS_LABEL, {"data": np.zeros(7, int)}, "datasets differ in their number of rows (found "),
        ("run", {"data": np.zeros(6, "S4")}, "expected numbers)"),
        (IMAGE, {"shape": (), "dtype": "i2"}, "(found (), "),
        (
            "run",
            {"shape": (10**13,), "dtype": "i8", "chunks": (1000,)},
            "too many rows (found 10,000,000,000,000, expected at most 1,000,000)",
        ),
    ],
)
def test_a_wrong_dataset_is_named_with_rule_and_value(path, name, how, said):
    replace(path, name, **how)
    found = file_problems(path, REQUIRED)
    assert len(found) == 1
    assert said in found[0]
    assert str(path) in found[0]
    assert name in found[0]


def test_missing_datasets_are_all_named_if_required(path):
    with h5py.File(path, "r+") as file:
        del file[IMAGE], file["run"], file["bld.L3energy"]
    assert [line.split(": ")[1] for line in file_problems(path, REQUIRED)] == [IMAGE, "run"]


def test_data_outside_the_file_are_refused_with_the_files_named(tmp_path, path):
    other = write_shots(tmp_path / "other.h5", run=71, count=6)
    with h5py.File(path, "r+") as file:
        del file[IMAGE], file["run"], file[PEAKS_LABEL]
        file[IMAGE] = h5py.ExternalLink(other.name, IMAGE)
        file.create_dataset("run", (6,), "i8", external=[("elsewhere.bin", 0, 48)])
        layout = h5py.VirtualLayout((6,), int)
        layout[:] = h5py.VirtualSource(other.name, PEAKS_LABEL, (6,))
        file.create_virtual_dataset(PEAKS_LABEL, layout)
    found = file_problems(path, REQUIRED)
    names = ("other.h5", "other.h5", "elsewhere.bin")
    for line, name in zip(found, names, strict=True):
        assert f"stored in another file (found {name}, " in line
        assert "Fix: set data.layout.references: follow" in line


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    found = file_problems(path, REQUIRED)
    assert len(found) == 1
    assert "not a readable HDF5 file" in found[0]


def test_what_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "notes.h5").write_text("not HDF5")
    assert "HDF5 file" in file_problems(tmp_path / "notes.h5", REQUIRED)[0]
    (tmp_path / "folder.h5").mkdir()
    assert "HDF5 file" in file_problems(tmp_path / "folder.h5", REQUIRED)[0]


@pytest.mark.parametrize(
    "how", [{}, {"chunks": (2, *SHAPE), "compression": "gzip"}, {"chunks": (1, 5, 5), "fletcher32": True}]
)
def test_frames_are_read_from_any_layout(path, how):
    with h5py.File(path, "r+") as file:
        frames = file[IMAGE][:]
        del file[IMAGE]
        file.create_dataset(IMAGE, data=frames, **how)
    rows = np.array([0, 3, 5])
    assert read_frames(path, rows).tolist() == frames[rows].tolist()
    assert read_columns(path, {"run": SCHEMA["run"]})["run"].tolist() == [70] * 6


def test_a_flipped_bit_is_an_error_not_a_frame(path):
    replace(
        path, IMAGE, data=np.arange(6 * 480, dtype=np.int16).reshape(6, *SHAPE), chunks=(1, *SHAPE), fletcher32=True
    )
    with h5py.File(path) as file:
        offset = file[IMAGE].id.get_chunk_info(2).byte_offset + 100
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="xtcavimg: not readable"):
        read_frames(path, np.array([2]))


def test_rows_without_a_key_have_none_where_no_key_is_needed(path):
    for name in (*EVENT_KEY, "run"):
        replace(path, name, shape=(6,), dtype="i4", chunks=(2,))
        with h5py.File(path, "r+") as file:
            file[name][:4] = 70
    columns = read_columns(path, {}, dict.fromkeys((*EVENT_KEY, "run"), SCHEMA[PEAKS_LABEL]))
    assert {name: values.tolist() for name, values in columns.items()} == dict.fromkeys(
        (*EVENT_KEY, "run"), [70] * 4 + [-1] * 2
    )


def test_the_fill_value_of_a_field_is_no_value(path):
    keys = np.array([(5, 1, row) for row in range(6)], [(name, "i4") for name in "abc"])
    keys["c"][4] = -7
    with h5py.File(path, "r+") as file:
        file.create_dataset("key", data=keys, chunks=(6,), fillvalue=np.array((0, 0, -7), keys.dtype))
    places = {name: Source(path=f"key/{field}") for name, field in zip(EVENT_KEY, "abc", strict=True)}
    columns = read_columns(path, dict.fromkeys(EVENT_KEY, KEY), folder=Folder(path.parent, Layout(datasets=places)))
    assert columns["evt.fiducials"].tolist() == [0, 1, 2, 3, -1, 5]


def split(times):
    """Return the whole seconds and the nanoseconds of times in seconds."""
    return [raw_column.column(np.asarray(times), Source(path="t", half=half), KEY) for half in ("high", "low")]


@given(st.lists(st.floats(2.0**23, 2.0**33), min_size=1))
def test_times_in_seconds_are_taken_apart_without_loss(times):
    ordered = np.unique(times)
    seconds, nanoseconds = split(ordered)
    np.testing.assert_array_equal(seconds + nanoseconds / 1e9, ordered)
    assert (nanoseconds >= 0).all()
    assert (nanoseconds < 10**9).all()
    assert len(np.unique(seconds * 10**9 + nanoseconds)) == len(ordered)
    assert (np.diff(seconds * 10**9 + nanoseconds) > 0).all()


def test_a_time_is_taken_apart_as_it_was_written():
    seconds, nanoseconds = split([1466123456.0083, 1466123456.5, np.nan, -1.0, 0.0])
    assert seconds.tolist() == [1466123456, 1466123456, -1, -1, 0]
    assert nanoseconds.tolist() == [8300066, 500000000, -1, -1, 0]  # the nearest float is 66 ns off


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (0.1 + 2**-40, "a time of finer steps than 1 ns (found 0.1"),
        (5 - 2**-40, "a time of finer steps than 1 ns (found 4.99"),
        (np.longdouble(1466123456) + np.longdouble(2) ** -32, "a time of finer steps than 1 ns (found 1466123456.0"),
        (np.inf, "an integer of more than 63 bits (found inf"),
        (1e30, "an integer of more than 63 bits (found 1e+30"),
    ],
)
def test_a_time_that_would_change_is_refused(time, said):
    with pytest.raises(Misfit) as error:
        split([1.0, time])
    assert said in str(error.value)


def test_a_pixel_that_float32_cannot_hold_is_refused(path):
    frames = np.full((6, *SHAPE), 0.5)
    frames[2, 3, 4] = 1e39
    replace(path, IMAGE, data=frames)
    assert read_frames(path, np.array([1])).dtype == np.float32
    with pytest.raises(UserError, match=r"xtcavimg: .*found 1e\+39"):
        read_frames(path, np.array([2]))
