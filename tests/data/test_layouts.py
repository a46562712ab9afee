"""Raw files in other layouts: read with the same numbers as the experiment's, or refused in a line whose cure makes them pass.

LAYOUTS are read with the layout that each names; CURED are refused first. All go through scan, check and prepare, whose output
must equal that of the plain files. test_strange_folders has mixtures of them.
"""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests import foreign_files
from tests.conftest import SHAPE
from xtcav_ml.config.base import overridden, validate_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.params_file import Params
from xtcav_ml.config.schema import IMAGE, PEAKS_LABEL
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import list_files
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.pipeline import check, prepare
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import scan

RUNS, COUNT = (68, 70, 71), 120
Change = Callable[[h5py.File], object]


def plain_folder(folder: Path) -> Path:
    return foreign_files.write(folder, "notes", count=COUNT)


def parameters(params: Params, folder: Path, layout: dict[str, Any] | None = None) -> Params:
    sizes = {"kernel": 3, "pool_window": 2, "pool_stride": 1}
    small = {f"train.model.blocks.{block}.{name}": size for block in (0, 1) for name, size in sizes.items()}
    data = DataParams(raw=str(folder), frame_shape=SHAPE, bad_files="fail")
    if layout:
        data = data.model_copy(update={"layout": validate_section(layout, Layout, "data.layout")})
    return params.model_copy(update={"data": data, "train": overridden(params.train, "train", small)})


def outcome(params: Params, out: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return what scan, check and prepare make of a folder: the columns of each prepared file."""
    scanned = scan.count_shots(list_files(Path(params.data.raw)), params.data, params.prepare)
    assert scanned["bad_files"] == 0 or params.data.bad_files == "skip"
    check.check_raw_files(params, out / "data.json")
    prepare.prepare_files(params.data, params.prepare, out / "prepared")
    found = {}
    for split in ("train", "validation", "test"):
        with PreparedFile(out / "prepared" / f"{split}.h5") as prepared:
            assert prepared.shots == scanned["kept"][split]
            found[split] = {"image": prepared.stored(np.arange(prepared.shots)), "label": prepared.labels}
            found[split] |= {name: prepared.column(name) for name in ("run", "run.index", "source.row", "frame.signal")}
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory, params):
    """The plain files, and what the pipeline makes of them."""
    folder = tmp_path_factory.mktemp("plain")
    plain_folder(folder / "raw")
    return folder / "raw", outcome(parameters(params, folder / "raw"), folder)


def same(found: dict[str, dict[str, np.ndarray]], expected: dict[str, dict[str, np.ndarray]]) -> None:
    for split, columns in expected.items():
        for name, values in columns.items():
            np.testing.assert_array_equal(found[split][name], values, err_msg=f"{split}: {name}")


# What is done to a file


def stored(name: str, **how: Any) -> Change:
    def store(file: h5py.File) -> None:
        values = file[name][:]
        del file[name]
        file.create_dataset(name, **{"data": values, **how})

    return store


def mapped(name: str, function: Callable[[np.ndarray], Any]) -> Change:
    def change(file: h5py.File) -> None:
        values = function(file[name][:])
        del file[name]
        file[name] = values

    return change


def moved(name: str, to: str) -> Change:
    return lambda file: file.move(name, to)


def each(*changes: Change) -> Change:
    return lambda file: [change(file) for change in changes]


def without(*names: str) -> Change:
    return lambda file: [file.pop(name) for name in names]


def packed_time(file: h5py.File) -> None:
    file["time"] = (file["evt.seconds"][:].astype("u8") << np.uint64(32)) | file["evt.nanoseconds"][:].astype("u8")
    without("evt.seconds", "evt.nanoseconds")(file)


def time_in_seconds(file: h5py.File) -> None:
    file["time"] = file["evt.seconds"][:] + 1e-9 * file["evt.nanoseconds"][:]
    without("evt.seconds", "evt.nanoseconds")(file)


def missing_labels(file: h5py.File) -> None:
    """Write 255 for no label in a type that has no -1."""
    mapped(PEAKS_LABEL, lambda values: np.where(values < 0, 255, values).astype("u1"))(file)


def virtual(name: str, *, to: str | None, strided: bool = False, tiles: bool = False) -> Change:
    """Assemble a dataset of two parts, in the file or in files of the folder `to` beside it."""

    def assemble(file: h5py.File) -> None:
        values = file[name][:]
        del file[name]
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        half = np.s_[::2] if strided else np.s_[: len(values) // 2]
        rest = np.s_[1::2] if strided else np.s_[len(values) // 2 :]
        if tiles:
            half, rest = np.s_[:, :10], np.s_[:, 10:]
        for number, part in enumerate((half, rest)):
            target = f"parts/{name}{number}"
            if to is None:
                file[target] = values[part]
                layout[part] = h5py.VirtualSource(file[target])
            else:
                path = Path(file.filename).parent / to / f"{Path(file.filename).stem}-{name}-{number}.h5"
                path.parent.mkdir(exist_ok=True)
                with h5py.File(path, "w") as other:
                    other["data"] = values[part]
                layout[part] = h5py.VirtualSource(f"{to}/{path.name}", "data", values[part].shape)
        file.create_virtual_dataset(name, layout)

    return assemble


def linked(name: str, to: str) -> Change:
    """Put a dataset into a file of the folder `to`, and a link to it in its place."""

    def link(file: h5py.File) -> None:
        path = Path(file.filename).parent / to / f"{Path(file.filename).stem}.data"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as other:
            other["camera/data"] = file[name][:]
        del file[name]
        file[name] = h5py.ExternalLink(f"{to}/{path.name}", "/camera/data")

    return link


def in_raw_bytes(file: h5py.File) -> None:
    """Store the frames in a file of bytes beside it."""
    values = file[IMAGE][:]
    del file[IMAGE]
    name = f"{Path(file.filename).stem}.bin"
    (Path(file.filename).parent / name).write_bytes(values.tobytes())
    file.create_dataset(IMAGE, values.shape, values.dtype, external=[(name, 0, values.nbytes)])


def hostile(file: h5py.File) -> None:
    """Add datasets that nobody asked for, and that cannot be read."""
    file["zz.link"], file["zz.outside"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("nowhere.h5", "/x")
    file["zz.text"], file["acq.waveforms"] = ["a"], np.zeros((2, 2))
    file.create_dataset("zz.huge", (10**12,), "i8")


def everywhere(change: Change, folder: Path) -> None:
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path, "r+") as file:
            change(file)


def in_files(change: Change) -> Callable[[Path], object]:
    return functools.partial(everywhere, change)


def renamed(name: Callable[[Path], Path]) -> Callable[[Path], object]:
    def rename(folder: Path) -> None:
        for path in sorted(folder.glob("*.h5")):
            name(path).parent.mkdir(parents=True, exist_ok=True)
            path.rename(name(path))

    return rename


def hidden_companions(folder: Path) -> None:
    for path in list(folder.glob("*.h5")):
        (folder / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (folder / "notes.txt").write_text("run 70 was good")


def halved(folder: Path) -> None:
    """Cut each file into two."""
    for path in list(folder.glob("*.h5")):
        with h5py.File(path) as old:
            rows = len(old["run"])
            for part, keep in (("a", slice(None, rows // 2)), ("b", slice(rows // 2, None))):
                with h5py.File(path.with_stem(f"{path.stem}-{part}"), "w") as new:
                    for name in old:
                        new[name] = old[name][keep]
        path.unlink()


FOLLOW = {"references": "follow"}


def at(**paths: Any) -> dict[str, Any]:
    return {
        "datasets": {"xtcavimg" if name == "image" else name.replace("_", "."): path for name, path in paths.items()}
    }


FRAMES: dict[str, Change] = {
    **{
        f"frames {kind}": mapped(IMAGE, lambda values, kind=kind: values.astype(kind))
        for kind in ("u2", ">i2", ">u2", "i4", "u4", "i8", "u8", "f2", "f4", ">f8")
    },
    "frames of one channel": mapped(IMAGE, lambda values: values[:, np.newaxis]),
    "frames of one channel at the end": mapped(IMAGE, lambda values: values[..., np.newaxis]),
    "frames one a chunk": stored(IMAGE, chunks=(1, *SHAPE), fletcher32=True),
    "frames many a chunk": stored(IMAGE, chunks=(8, *SHAPE), compression="gzip"),
    "frames all in a chunk": stored(IMAGE, chunks=True, maxshape=(None, *SHAPE), compression="lzf"),
    "frames in tiles": stored(IMAGE, chunks=(3, 7, 6), shuffle=True, compression="gzip"),
    "frames bitshuffle": stored(IMAGE, chunks=(8, *SHAPE), **hdf5plugin.Bitshuffle()),
    "frames lz4": stored(IMAGE, chunks=(8, *SHAPE), **hdf5plugin.LZ4()),
    "frames zstd": stored(IMAGE, chunks=(8, *SHAPE), **hdf5plugin.Zstd()),
    "frames blosc": stored(IMAGE, chunks=(8, *SHAPE), **hdf5plugin.Blosc()),
    "frames blosc2": stored(IMAGE, chunks=(8, *SHAPE), **hdf5plugin.Blosc2()),
    "frames in fewer bits": stored(IMAGE, chunks=(8, *SHAPE), scaleoffset=0),
    "frames virtual": virtual(IMAGE, to=None),
    "frames virtual, in turns": virtual(IMAGE, to=None, strided=True),
    "frames virtual, of two modules": virtual(IMAGE, to=None, tiles=True),
}
LABELS: dict[str, Change] = {
    **{
        f"labels {kind}": mapped(PEAKS_LABEL, lambda values, kind=kind: values.astype(kind))
        for kind in ("i1", ">i4", "u8", "f4", "f8")
    },
    "labels of one column": mapped(PEAKS_LABEL, lambda values: values[:, np.newaxis]),
    "labels named": stored(PEAKS_LABEL, dtype=h5py.enum_dtype({"none": 0, "t0": 1, "t1": 2, "t2": 3}, "i1")),
    "masks of truth values": mapped("lasing", lambda values: values.astype(bool)),
}

LAYOUTS: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
    **{name: ({}, in_files(change)) for name, change in {**FRAMES, **LABELS}.items()},
    "groups": (
        at(image="camera/frames", run="scan/run"),
        in_files(each(moved(IMAGE, "camera/frames"), moved("run", "scan/run"))),
    ),
    "soft link": (
        {},
        in_files(
            each(
                moved(IMAGE, "a/b"),
                lambda file: file.__setitem__(IMAGE, h5py.SoftLink("/c/b")),
                lambda file: file.__setitem__("c", h5py.SoftLink("/a")),
            )
        ),
    ),
    "packed time": (
        at(evt_seconds={"path": "time", "half": "high"}, evt_nanoseconds={"path": "time", "half": "low"}),
        in_files(packed_time),
    ),
    "time in seconds": (
        at(evt_seconds={"path": "time", "half": "high"}, evt_nanoseconds={"path": "time", "half": "low"}),
        in_files(time_in_seconds),
    ),
    "whole seconds as floats": ({}, in_files(mapped("evt.seconds", lambda values: values.astype(float)))),
    "no fiducials": (at(evt_fiducials=None), in_files(without("evt.fiducials"))),
    "no position in the run": ({"datasets": {"run.index": None}}, in_files(without("run.index"))),
    "a run of the whole file": ({}, in_files(mapped("run", lambda values: values[0]))),
    "a run as an attribute": (
        at(run="scan@number"),
        in_files(each(lambda file: file.create_group("scan").attrs.update(number=file["run"][0]), without("run"))),
    ),
    "a run as an attribute of the file": (
        at(run="@run"),
        in_files(each(lambda file: file.attrs.update(run=[file["run"][0]]), without("run"))),
    ),
    "a run in the name of the file": (at(run={"file_name": r"-r(\d+)"}), in_files(without("run"))),
    "a mask that is the same everywhere": (at(lasing=1), in_files(without("lasing"))),
    "a number for no label": (at(acq_peaksLabel={"path": PEAKS_LABEL, "missing": (255,)}), in_files(missing_labels)),
    "datasets that nobody asked for": ({}, in_files(hostile)),
    "parts in the folder": (FOLLOW, in_files(virtual(IMAGE, to="parts"))),
    "parts of a label, in turns": (FOLLOW, in_files(virtual(PEAKS_LABEL, to="parts", strided=True))),
    "links to other files": (FOLLOW, in_files(linked(IMAGE, to="data"))),
    "frames as bytes": (FOLLOW, in_files(in_raw_bytes)),
    "other suffixes": ({}, renamed(lambda path: path.with_suffix(".nxs" if "70" in path.name else ".data"))),
    "folders of runs": ({}, renamed(lambda path: path.parent / path.stem / "data.h5")),
    "companions of other systems": ({}, hidden_companions),
}


@pytest.fixture
def copied(tmp_path, plain):
    folder = tmp_path / "raw"
    shutil.copytree(plain[0], folder)
    return folder


def test_there_are_forty_layouts_at_least():
    assert len(LAYOUTS) >= 40


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_layout_is_read_with_the_same_numbers(name, copied, plain, params, tmp_path):
    layout, change = LAYOUTS[name]
    change(copied)
    found = outcome(parameters(params, copied, layout), tmp_path)
    same(found, plain[1])


def test_a_run_in_two_files_is_one_run(copied, plain, params, tmp_path):
    halved(copied)
    found = outcome(parameters(params, copied), tmp_path)
    for split, columns in plain[1].items():
        assert sorted(columns["run.index"]) == sorted(found[split]["run.index"])


def test_files_without_keys_are_read_in_the_order_of_their_rows(copied, plain, params, tmp_path):
    layout = {"datasets": dict.fromkeys(("evt.seconds", "evt.nanoseconds", "evt.fiducials", "run.index"))}
    everywhere(without(*layout["datasets"]), copied)
    same(outcome(parameters(params, copied, layout), tmp_path), plain[1])


def test_calibrated_frames_keep_their_fractions(copied, plain, params, tmp_path):
    everywhere(mapped(IMAGE, lambda values: values.astype(np.float32) + 0.25), copied)
    given = parameters(params, copied)
    found = outcome(given, tmp_path)
    same(found, {split: {"image": columns["image"], "run": columns["run"]} for split, columns in plain[1].items()})
    raw_set = raw_files.open_set(given.data, given.prepare)
    with raw_set.frames(0) as frames:
        assert frames.read(np.arange(2)).dtype == np.float32
        assert np.unique(frames.read(np.arange(2)) % 1).tolist() == [0.25]


CURED: dict[str, tuple[str, Change, dict[str, Any]]] = {
    "frames elsewhere": ("xtcavimg: missing ", moved(IMAGE, "camera/image"), at(image="camera/image")),
    "labels elsewhere": (
        "acq.peaksLabel: missing ",
        moved(PEAKS_LABEL, "acq/label"),
        {"datasets": {PEAKS_LABEL: "acq/label"}},
    ),
    "a group": (
        "run: not a dataset (found a group",
        each(moved("run", "number"), moved("number", "run/number")),
        at(run="run/number"),
    ),
    "no key": ("evt.fiducials: missing ", without("evt.fiducials"), at(evt_fiducials=None)),
    "one run for many shots": (
        "differ in their number of rows (found 1 in run",
        mapped("run", lambda values: values[:1]),
        at(run={"file_name": r"-r(\d+)"}),
    ),
    "labels with fractions": (
        "acq.peaksLabel: not a whole number (found 0.5 in row ",
        mapped(PEAKS_LABEL, lambda values: np.where(values < 0, 0.5, values)),
        at(acq_peaksLabel={"path": PEAKS_LABEL, "missing": (0.5,)}),
    ),
    "a number for no label": (
        "acq.peaksLabel: not a class (found 255 in row ",
        missing_labels,
        at(acq_peaksLabel={"path": PEAKS_LABEL, "missing": (255,)}),
    ),
    "a time in seconds": (
        "evt.seconds: not a whole number (found 14",
        each(
            time_in_seconds, moved("time", "evt.seconds"), lambda file: file.create_dataset("evt.nanoseconds", data=0)
        ),
        at(evt_seconds={"path": "evt.seconds", "half": "high"}, evt_nanoseconds={"path": "evt.seconds", "half": "low"}),
    ),
    "parts in other files": ("xtcavimg: stored in another file (found parts/", virtual(IMAGE, to="parts"), FOLLOW),
    "links to other files": ("xtcavimg: stored in another file (found data/", linked(IMAGE, to="data"), FOLLOW),
    "frames as bytes": ("xtcavimg: stored in another file (found amo86815-", in_raw_bytes, FOLLOW),
}


@pytest.mark.parametrize("name", CURED)
def test_what_is_refused_is_one_line_whose_cure_makes_it_pass(name, copied, plain, params, tmp_path):
    line, change, cure = CURED[name]
    with h5py.File(copied / "amo86815-r0070.h5", "r+") as file:
        file[PEAKS_LABEL][3] = -1
    expected = outcome(parameters(params, copied), tmp_path / "expected")
    everywhere(change, copied)
    with pytest.raises(UserError) as error:
        outcome_refused(parameters(params, copied), tmp_path)
    assert line in str(error.value)
    assert "Fix: " in str(error.value)
    assert "\n" not in str(error.value)
    same(outcome(parameters(params, copied, cure), tmp_path), expected)


def outcome_refused(params: Params, out: Path) -> None:
    check.check_raw_files(params, out / "data.json")


def test_chunks_that_do_not_fit_into_memory_are_reported_with_the_cure(tmp_path, params, capsys):
    foreign_files.write(tmp_path / "raw", "notes", runs=(70,), count=1500)
    everywhere(without(IMAGE), tmp_path / "raw")

    def declare(file: h5py.File) -> None:  # nothing is written, as the fill value is what is meant
        rows = len(file["run"])
        chunks = (min(rows, 1500), 128, 128)
        file.create_dataset(IMAGE, (rows, 726, 568), "i2", chunks=chunks, fillvalue=100, compression="gzip")

    everywhere(declare, tmp_path / "raw")
    given = parameters(params, tmp_path / "raw")
    given = given.model_copy(update={"data": given.data.model_copy(update={"frame_shape": (726, 568)})})
    scan.scan_folder(tmp_path / "raw", given.data, given.prepare, as_json=False)
    check.check_raw_files(given, tmp_path / "data.json")
    shown = capsys.readouterr().out
    line = "amo86815-r0070.h5: xtcavimg: slow, the chunks of a row exceed the memory (found 1,474,560,000 bytes, "
    assert shown.count(line) == 2
    assert shown.count("Fix: `h5repack -l xtcavimg:CHUNK=1x726x568 IN OUT`") == 2
    assert "r0068.h5: xtcavimg: slow" not in shown
