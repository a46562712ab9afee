"""Folders as people have them, and mixtures of layouts: through scan, check, prepare, train and predict as the plain files.

What has the same prepared shots is learned alike, so one network predicts them all; a slow test trains one for each mixture.
"""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.data import test_blank_rows
from tests.data.test_layouts import (
    FRAMES,
    LABELS,
    LAYOUTS,
    everywhere,
    halved,
    hidden_companions,
    outcome,
    outcome_refused,
    parameters,
    plain_folder,
    renamed,
)
from tests.data.test_layouts_trained import SMALL
from xtcav_ml.config.base import overridden
from xtcav_ml.config.params_file import Params
from xtcav_ml.config.schema import IMAGE, PEAKS_LABEL
from xtcav_ml.pipeline import train
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import predict

Shots = dict[tuple[int, int], bytes]  # by run and position in it
Act = Callable[[Path], object]


def by_shot(columns: dict[str, np.ndarray], *names: str) -> Shots:
    runs = columns["run"][:]
    positions = columns["run.index"][:] if "run.index" in columns else np.arange(len(runs))
    keys = zip(runs.tolist(), positions.tolist(), strict=True)
    values = [columns[name][:] for name in names]
    return {key: b"".join(value[row].tobytes() for value in values) for row, key in enumerate(keys) if key[0] > 0}


def prepared(params: Params, out: Path) -> dict[str, Shots]:
    """Return what scan, check and prepare make of the shots of each set."""
    found = outcome(params, out)
    shots = {split: by_shot(columns, "image", "label", "frame.signal") for split, columns in found.items()}
    assert {split: len(of) for split, of in shots.items()} == {split: len(of["run"]) for split, of in found.items()}
    return shots


def predicted(params: Params, model: Path, out: Path) -> Shots:
    """Return the predictions of the shots of a folder; those of copies must be the same."""
    skip = params.data.bad_files == "skip"
    shots: Shots = {}
    for path in predict.predict_files(model, [Path(params.data.raw)], out, 2, params.data.layout, skip_bad=skip):
        with h5py.File(path) as file:
            found = by_shot(file, "probability", "predicted")
        assert all(shots[key] == found[key] for key in shots.keys() & found.keys())
        shots |= found
    return shots


@pytest.fixture(scope="module")
def plain(tmp_path_factory, params, keras_ready):
    """The plain files, their prepared shots, a network trained on them, and what it predicts."""
    folder = tmp_path_factory.mktemp("plain")
    given = parameters(params, plain_folder(folder / "raw"))
    shots, found = learned(given, folder)
    assert len(set(found.values())) > 200
    return folder / "raw", shots, folder / "model.keras", found


# What is done to a folder


def second_copy(folder: Path) -> None:
    shutil.copy(folder / "amo86815-r0070.h5", folder / "copy of amo86815-r0070.h5")


def links_instead(folder: Path) -> None:
    """Keep the files elsewhere, and have links to them in the folder."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.mkdir()
    (folder / "all").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "up").symlink_to(folder, target_is_directory=True)


def link_to_each(folder: Path) -> None:
    for path in sorted(folder.glob("*.h5")):
        target = folder.with_name("elsewhere") / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        path.symlink_to(target)


def rewritten(**how: Any) -> Act:
    """Write each file again with other settings of HDF5."""

    def write(folder: Path) -> None:
        for path in sorted(folder.glob("*.h5")):
            with h5py.File(path) as old, h5py.File(path.with_suffix(".new"), "w", **how) as new:
                for name in old:
                    old.copy(name, new)
            path.with_suffix(".new").rename(path)

    return write


def part_of(path: Path, target: Path, rows: slice) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path) as old, h5py.File(target, "w") as new:
        for name in old:
            new[name] = old[name][rows]


def no_rows(folder: Path) -> None:
    """Add files of a run that was stopped before its first shot: no rows, in one piece and in chunks."""
    part_of(folder / "amo86815-r0070.h5", folder / "amo86815-r0072.h5", slice(0))
    with h5py.File(folder / "amo86815-r0070.h5") as old, h5py.File(folder / "amo86815-r0073.h5", "w") as new:
        for name, values in old.items():
            row = values.shape[1:]
            new.create_dataset(name, (0, *row), values.dtype, maxshape=(None, *row), chunks=(8, *row))


def in_turns(folder: Path) -> None:
    """Write the shots of each run into two files in turns."""
    for path in sorted(folder.glob("*.h5")):
        for first in (0, 1):
            part_of(path, folder / f"stream{first}" / path.name, slice(first, None, 2))
        path.unlink()


def one_by_one(folder: Path) -> None:
    """Write a file for each shot of a run."""
    path = folder / "amo86815-r0071.h5"
    for row in range(120):
        part_of(path, folder / "run71" / f"shot{row}.h5", slice(row, row + 1))
    path.unlink()


def overlapping(folder: Path) -> None:
    path = folder / "amo86815-r0071.h5"
    part_of(path, folder / "first.h5", slice(80))
    part_of(path, folder / "last.h5", slice(40, None))
    path.unlink()


def company(folder: Path) -> None:
    """Add what else lies in folders of data."""
    (folder / "elog.txt").write_text("run 70 was good")
    (folder / "empty").mkdir()
    (folder / "empty.png").touch()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._amo86815-r0070.h5").write_bytes(b"\0\5\x16\7")
    (folder / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "amo86815-r0070.h5", folder / ".ipynb_checkpoints" / "copy.h5")
    (folder / ".nfs0001").touch()
    (folder / "lost.log").symlink_to("/nowhere/lost.log")
    os.mkfifo(folder / "control")


def chunked_twice(folder: Path) -> None:
    """Have a file of packed frames by two names: HDF5 has it open once when copies are compared."""
    everywhere(FRAMES["frames many a chunk"], folder)
    os.link(folder / "amo86815-r0070.h5", folder / "again.h5")
    (folder / "last.h5").symlink_to("amo86815-r0071.h5")


def blank(folder: Path) -> None:
    """Add rows that hold no shot: zeros, and rows that were never written."""
    everywhere(test_blank_rows.filled({}), folder)
    everywhere(test_blank_rows.preallocated, folder)


FOLDERS: dict[str, Act] = {
    "several suffixes": renamed(
        lambda path: path.with_suffix({"68": ".H5", "70": "", "71": ".data.1"}[path.stem[-2:]])
    ),
    "nested": renamed(lambda path: path.parent / "a" / path.stem[-2:] / "b c" / path.name),
    "the same name in each folder": renamed(lambda path: path.parent / path.stem / "data.h5"),
    "folders that are named as files": renamed(lambda path: path.parent / f"{path.stem}.d.h5" / path.name),
    "odd names": renamed(lambda path: path.with_name(f"-Ünïcode {{0}} 'r' $x\n{path.stem[-2:]}%s:*.h5")),
    "hidden companions": hidden_companions,
    "company": company,
    "a copy of a file": second_copy,
    "a second name of a file": lambda folder: os.link(folder / "amo86815-r0070.h5", folder / "again.h5"),
    "a link to a file of the folder": lambda folder: (folder / "last.h5").symlink_to("amo86815-r0070.h5"),
    "links to files": link_to_each,
    "a link to the folder, and back": links_instead,
    "a block of the user": rewritten(userblock_size=2048),
    "the latest format": rewritten(libver="latest"),
    "creation order": rewritten(track_order=True),
    "files without rows": no_rows,
    "halves": halved,
    "in turns": in_turns,
    "a file a shot": one_by_one,
    "overlapping files": overlapping,
    "rows without a shot": blank,
    "chunks, and a second name": chunked_twice,
}


@pytest.fixture
def copied(tmp_path, plain):
    return shutil.copytree(plain[0], tmp_path / "raw")


def require_same(params: Params, plain: tuple[Any, ...], out: Path) -> None:
    assert prepared(params, out) == plain[1]
    assert predicted(params, plain[2], out / "predictions") == plain[3]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_strange_folder_holds_the_same_shots(name, copied, plain, params, tmp_path):
    FOLDERS[name](copied)
    require_same(parameters(params, copied), plain, tmp_path)


def test_predictions_into_the_folder_are_no_raw_files(copied, plain, params, tmp_path):
    given = parameters(params, copied)
    assert predicted(given, plain[2], copied / "predictions") == plain[3]
    require_same(given, plain, tmp_path)


# What is refused


def foreign(folder: Path) -> None:
    with h5py.File(folder / "amo86815-r0099.h5", "w") as file:
        file["entry/data/data"], file["entry/time"] = np.zeros((3, 24, 20), "u2"), np.arange(3)


def within(name: str, content: bytes) -> Act:
    return lambda folder: (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    (folder / "cut.h5").write_bytes((folder / "amo86815-r0070.h5").read_bytes()[:5000])


def prepared_within(folder: Path) -> None:
    shutil.copytree(folder.parent / "prepared", folder / "prepared")


def changed_copy(name: str) -> Act:
    def copy(folder: Path) -> None:
        second_copy(folder)
        with h5py.File(folder / "copy of amo86815-r0070.h5", "r+") as file:
            file[name][5] = (file[name][5] + 1) % 4

    return copy


REFUSED: dict[str, tuple[str, Act]] = {
    "an empty file": ("empty.h5: not a readable HDF5 file (found ", within("empty.h5", b"")),
    "a text": ("text.nxs: not a readable HDF5 file (found ", within("text.nxs", b"hello")),
    "a signature alone": ("none.dat: not a readable HDF5 file (found ", within("none.dat", b"\x89HDF\r\n\x1a\n")),
    "a cut file": ("cut.h5: not a readable HDF5 file (found ", cut),
    "a link to nowhere": (
        "x.h5: not a readable HDF5 file (found ",
        lambda folder: (folder / "x.h5").symlink_to("/no/x"),
    ),
    "a link to itself": ("x.h5: not a readable HDF5 file (found ", lambda folder: (folder / "x.h5").symlink_to("x.h5")),
    "a pipe": ("x.h5: not a readable HDF5 file (found ", lambda folder: os.mkfifo(folder / "x.h5")),
    "a file of another program": ("r0099.h5: ", foreign),
    "prepared files": ("/prepared/frames/dark.h5", prepared_within),
}
"""Cured by `data.bad_files: skip`, and by removing what is named."""


@pytest.mark.parametrize("cure", ["skip", "remove"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_one_line_whose_cures_make_the_others_pass(name, cure, copied, plain, params, tmp_path):
    line, add = REFUSED[name]
    given, before = parameters(params, copied), set(copied.rglob("*"))
    outcome(given, tmp_path)
    add(copied)
    for refused in (
        lambda: outcome_refused(given, tmp_path),
        lambda: predict.predict_files(plain[2], [copied], tmp_path / "predictions", 2),
    ):
        with pytest.raises(UserError) as error:
            refused()
        assert line in str(error.value)
        assert "Fix: " in str(error.value)
        assert "remove " in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    if cure == "skip":
        given = given.model_copy(update={"data": given.data.model_copy(update={"bad_files": "skip"})})
    for path in sorted(set(copied.rglob("*")) - before, reverse=True) if cure == "remove" else ():
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
    require_same(given, plain, tmp_path / "cured")


@pytest.mark.parametrize("name", [IMAGE, PEAKS_LABEL, "lasing"])
def test_copies_that_differ_are_one_line_whose_cure_works(name, copied, plain, params, tmp_path):
    changed_copy(name)(copied)
    with pytest.raises(UserError, match=r"copy of amo86815-r0070\.h5.*Fix: .*remove one"):
        outcome_refused(parameters(params, copied), tmp_path)
    (copied / "copy of amo86815-r0070.h5").unlink()
    require_same(parameters(params, copied), plain, tmp_path)


# Mixtures

REFERRING = ("parts in the folder", "links to other files", "frames as bytes")
KEYS = (
    "packed time",
    "no fiducials",
    "no position in the run",
    "a run in the name of the file",
    "a run as an attribute",
    "a run of the whole file",
    "groups",
)
MOVING = ("nested", "the same name in each folder", "folders that are named as files", "links to files")
RENAMING = ("odd names", "the same name in each folder", "a link to a file of the folder")
REWRITING = ("in turns", "halves", "a file a shot", "overlapping files", "rows without a shot", "files without rows")


def mixed(changes: list[str | None], folder: Path) -> dict[str, Any]:
    """Apply layouts to the files of a folder one after another, and return the layout that has the places of all."""
    places: dict[str, Any] = {}
    layout: dict[str, Any] = {}
    for name in filter(None, changes):
        of, change = LAYOUTS[name]
        layout |= of
        places |= of.get("datasets", {})
        change(folder)
    return layout | ({"datasets": places} if places else {})


MIXTURES = {
    "frames": st.sampled_from([*FRAMES, *REFERRING, None]),
    "labels": st.sampled_from([*LABELS, "parts of a label, in turns", "a number for no label", None]),
    "keys": st.sampled_from([*KEYS, None]),
    "files": st.sampled_from([*sorted(FOLDERS.keys() - set(REWRITING)), None]),
}


def mixture(
    folder: Path, frames: str | None, labels: str | None, keys: str | None, files: str | None
) -> dict[str, Any]:
    """Make a mixture of a folder of plain files, and return its layout."""
    referring = frames in REFERRING or labels == "parts of a label, in turns"
    assume(not (referring and files is not None))
    assume(not (keys == "a run in the name of the file" and files in RENAMING))
    assume(
        not (keys == "groups" and files == "chunks, and a second name")
    )  # which looks for the frames where they were
    layout = mixed([frames, labels, keys], folder)
    if files is not None:
        FOLDERS[files](folder)
    return layout


@settings(suppress_health_check=list(HealthCheck), max_examples=12, derandomize=True)
@given(**MIXTURES)
def test_mixtures_are_prepared_and_predicted_with_the_same_numbers(
    frames, labels, keys, files, plain, params, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("mixture")
    shutil.copytree(plain[0], folder / "raw")
    layout = mixture(folder / "raw", frames, labels, keys, files)
    require_same(parameters(params, folder / "raw", layout), plain, folder)
    shutil.rmtree(folder)


def learned(params: Params, out: Path) -> tuple[dict[str, Shots], Shots]:
    """Return the prepared shots of a folder, and what a network that is trained on them predicts."""
    shots, model = prepared(params, out), out / "model.keras"
    train.train_network(overridden(params.train, "train", SMALL), out / "prepared", model, out / "history.jsonl")
    return shots, predicted(params, model, out / "predictions")


@pytest.mark.slow
def test_mixtures_are_learned_with_the_same_numbers(eager, plain, params, tmp_path_factory):
    expected, count = learned(parameters(params, plain[0]), tmp_path_factory.mktemp("plain")), itertools.count(1)

    @settings(
        suppress_health_check=list(HealthCheck), max_examples=60, phases=[Phase.generate]
    )  # to shrink takes minutes
    @given(**MIXTURES)
    def same(frames, labels, keys, files):
        folder = tmp_path_factory.mktemp("mixture")
        shutil.copytree(plain[0], folder / "raw")
        layout = mixture(folder / "raw", frames, labels, keys, files)
        assert learned(parameters(params, folder / "raw", layout), folder) == expected
        shutil.rmtree(folder)
        print(f"mixture {next(count)}: {frames}, {labels}, {keys}, {files}", flush=True)

    same()
