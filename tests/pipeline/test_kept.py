"""What is made again of a prepared set, and what is not; and that all is the same as if everything were made at once."""

import hashlib
import os

import h5py
import numpy as np
import pytest

from tests.conftest import SHAPE, write_shots
from xtcav_ml.config.base import validate_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.prepared_writing import write_whole
from xtcav_ml.pipeline import kept, prepare
from xtcav_ml.pipeline.kept import Kept
from xtcav_ml.system.errors import UserError


class Prepared:
    """A raw folder that is prepared again and again; `made` are the names of the raw files whose shards were made."""

    def __init__(self, folder, raw, params):
        self.folder, self.raw, self.section = folder, raw, params.prepare
        self.out, self.kept = folder / "prepared", folder / ".shards"
        self.made = []
        self.layout = Layout()

    def make(self, tasks, advance):
        for task in tasks:
            self.made.append(task.raw.name)
            prepare.make_here([task], advance)

    def __call__(self, out=None, **changes):
        self.made.clear()
        tree = self.section.model_dump()
        for name, values in changes.items():
            tree[name] = tree[name] | values if isinstance(values, dict) else values
        data = DataParams(raw=str(self.raw), frame_shape=SHAPE, bad_files="fail", layout=self.layout)
        kept_in = self.kept if out is None else None
        section = validate_section(tree, PrepareParams, "prepare")
        prepare.prepare_files(data, section, out or self.out, kept=kept_in, make=self.make)
        return sorted(self.made)


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def prepared(raw_folder, params, tmp_path):
    found = Prepared(tmp_path, raw_folder, params)
    assert found() == ["a.h5", "b.hdf5"]
    return found


def test_one_more_file_costs_one_shard_and_gives_the_bytes_of_a_full_run(prepared, tmp_path):
    before = digests(prepared.out / "frames")
    write_shots(prepared.raw / "aa.h5", run=72, count=200)
    assert prepared() == ["aa.h5"]
    assert before.items() <= digests(prepared.out / "frames").items()
    assert prepared(tmp_path / "anew") == ["a.h5", "aa.h5", "b.hdf5"]
    assert digests(prepared.out) == digests(tmp_path / "anew")


def test_split_and_balance_make_no_frame(prepared, tmp_path):
    changes = {"split": {"train": 0.5, "test": 0.37, "gap": 0}, "balance": {"ratio": 1.2}}
    before = digests(prepared.out)
    assert prepared(**changes) == []
    assert digests(prepared.out)["train.h5"] != before["train.h5"]
    prepared(tmp_path / "anew", **changes)
    assert digests(prepared.out) == digests(tmp_path / "anew")


def test_what_decides_a_frame_makes_it_again(prepared, monkeypatch):
    assert prepared() == []
    os.utime(prepared.raw / "a.h5", ns=(1, 1))
    assert prepared() == ["a.h5"]
    assert prepared(images=[{"step": "log"}]) == ["a.h5", "b.hdf5"]
    assert prepared(images=[{"step": "log"}], watch={"saturation": 300}) == ["a.h5", "b.hdf5"]
    assert prepared(include={"lasing": 1}, within={"bld.L3energy": [3990, 4000]}) == ["a.h5", "b.hdf5"]
    assert prepared() == ["a.h5", "b.hdf5"]  # no more is kept than the last set
    write_shots(prepared.raw / "dark.h5", run=68, count=9, lasing=0)
    assert prepared() == ["a.h5", "b.hdf5"]
    monkeypatch.setattr(kept, "code", lambda: "other code")
    assert prepared() == ["a.h5", "b.hdf5"]


def move_frames(path):
    """Move the frames of a raw file into another one below `parts`, to which it then refers."""
    part = path.parent / "parts" / path.name
    part.parent.mkdir(exist_ok=True)
    with h5py.File(path, "r+") as file, h5py.File(part, "w") as other:
        other["data"] = file["xtcavimg"][:]
        layout = h5py.VirtualLayout(other["data"].shape, "i2")
        layout[:] = h5py.VirtualSource(f"parts/{path.name}", "data", other["data"].shape)
        del file["xtcavimg"]
        file.create_virtual_dataset("xtcavimg", layout)


def test_of_files_whose_frames_are_in_others_each_depends_on_its_own(raw_folder, params, tmp_path):
    prepared = Prepared(tmp_path, raw_folder, params)
    prepared.layout = Layout(references="follow")
    for name in ("a.h5", "b.hdf5", "dark.h5"):
        move_frames(raw_folder / name)
    assert prepared() == ["a.h5", "b.hdf5"]
    move_frames(write_shots(raw_folder / "aa.h5", run=72, count=200))
    assert prepared() == ["aa.h5"]
    os.utime(raw_folder / "parts/b.hdf5", ns=(1, 1))
    assert prepared() == ["b.hdf5"]
    os.utime(raw_folder / "parts/dark.h5", ns=(1, 1))
    assert prepared() == ["a.h5", "aa.h5", "b.hdf5"]


def test_what_is_kept_takes_no_room_and_is_not_what_is_damaged(prepared):
    shards = [path for path in prepared.kept.iterdir() if path.stat().st_nlink == 2]
    assert len(shards) == len(list(prepared.kept.iterdir())) == 3  # and the dark frame
    largest = max(shards, key=lambda path: path.stat().st_size)
    before = digests(prepared.out)
    content = largest.read_bytes()
    largest.unlink()
    largest.write_bytes(content[:-9] + b"x" + content[-8:])
    assert len(prepared()) == 1
    assert digests(prepared.out) == before


def test_an_interrupted_prepare_goes_on_with_what_is_missing(prepared, monkeypatch, tmp_path):
    before = digests(prepared.out)

    def stop(task, advance):
        if task.raw.name == "b.hdf5":
            raise UserError("stopped")
        make(task, advance)

    make = prepare.make_shard
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "make_shard", stop)
        with pytest.raises(UserError, match="stopped"):
            prepared(images=[{"step": "log"}])
    assert digests(prepared.out) == before
    assert prepared(images=[{"step": "log"}]) == ["b.hdf5"]
    prepared(tmp_path / "anew", images=[{"step": "log"}])
    assert digests(prepared.out) == digests(tmp_path / "anew")


def test_a_set_of_two_shards_is_one_file_with_the_same_frames(prepared, tmp_path):
    with PreparedFile(prepared.out / "train.h5") as index:
        assert index.source_files == ["a.h5", "b.hdf5"]
        write_whole(tmp_path / "whole.h5", index, ["a.h5", "b.hdf5", "dark.h5"])
        with PreparedFile(tmp_path / "whole.h5") as whole:
            rows = np.random.default_rng(0).permutation(index.shots)
            assert index.stored(rows).tolist() == whole.stored(rows).tolist()
            assert index.pixel_mean.tolist() == whole.pixel_mean.tolist()
            assert index.pixel_sd.tolist() == whole.pixel_sd.tolist()
            for name in ("label", "evt.fiducials", "source.row", "frame.signal", "image.crc32"):
                assert index.column(name).tolist() == whole.column(name).tolist()
            assert index.nbytes == whole.nbytes
            assert index.spec.same_as(whole.spec)


def test_a_damaged_or_missing_shard_and_another_dark_frame_are_one_line(prepared):
    shard = prepared.out / "frames/shards/a.h5"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1  # of a frame
    shard.unlink()
    shard.write_bytes(content)
    with (
        PreparedFile(prepared.out / "train.h5") as train,
        PreparedFile(prepared.out / "validation.h5") as validation,
        PreparedFile(prepared.out / "test.h5") as test,
        pytest.raises(UserError, match=r"shards/a\.h5: image: damaged .* Fix: run `find \. -samefile .* -delete`"),
    ):
        for each in (train, validation, test):
            each.stored(np.arange(each.shots))
    shard.unlink()
    with pytest.raises(UserError, match=r"shards/a\.h5: cannot be read .* Fix: "):
        PreparedFile(prepared.out / "train.h5")
    dark = prepared.out / "frames/dark.h5"
    dark.write_bytes(dark.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"dark\.h5: not the dark frame of .* Fix: "):
        PreparedFile(prepared.out / "train.h5")


def test_a_name_hashes_all_that_decides_it(tmp_path):
    one = Kept(tmp_path)
    assert one.place("a", [1, 2]) == Kept(tmp_path).place("a", [1, 2])
    assert len({one.place("a", [1, 2]), one.place("a", [1], 2), one.place("b", [1, 2])}) == 3
