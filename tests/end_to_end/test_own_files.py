"""A scientist's own files: other names, 37 rows, compressed images, extra datasets, and nothing is simulated."""

import h5py
import numpy as np
import pytest

from tests.end_to_end.conftest import Project
from xtcav_ml.data.prepared import PreparedFile

ROWS = 37


def write_own(path, run, number, lasing=1):
    """Write a file as another program would: full-size frames in gzipped chunks of several shots, integers of other widths."""
    rng = np.random.default_rng([run, number])
    index = np.arange(ROWS) + number * ROWS
    label = rng.integers(0, 4, ROWS) if lasing else np.zeros(ROWS, int)
    frames = np.full((ROWS, 726, 568), 100, np.int16)
    for stripe in range(1, 4):
        frames[label >= stripe, 200:500, 120 * stripe : 120 * stripe + 60] += 400
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("xtcavimg", data=frames, chunks=(5, 363, 284), compression="gzip", compression_opts=1)
        file["acq.peaksLabel"] = label.astype(np.int16)
        file["lasing"] = np.full(ROWS, lasing, np.uint8)
        file["run"] = np.full(ROWS, run, np.int32)
        file["run.index"] = index.astype(np.uint32)
        file["evt.seconds"] = (1_450_000_000 + 100 * run + index // 120).astype(np.uint32)
        file["evt.nanoseconds"] = (index % 120 * 8_000_000).astype(np.uint32)
        file["evt.fiducials"] = (index * 3).astype(np.uint32)
        file["bld.gasdet.f_11_ENRC"] = rng.random(ROWS)
        file.create_group("notes").attrs["author"] = "someone"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    project = Project.copy(tmp_path_factory.mktemp("own"), **{"train.epochs": 1})
    folder = project.folder / "data" / "raw" / "mine"
    folder.mkdir(parents=True)
    write_own(folder / "shutter closed.h5", 12, 0, lasing=0)
    for run in (13, 14):
        for number in range(2):
            write_own(folder / f"2026-beamtime_{run}_{number}.hdf5", run, number)
    project.run("dvc", "add", "data/raw/mine")
    project.set(
        **{"data.raw": "data/raw/mine", "prepare.dark_run": 12, "prepare.split.seed": 3, "train.batch_size": 16},
        **{"prepare.images": [{"step": "subtract_dark"}, {"step": "block_mean", "size": 2}, {"step": "log"}]},
    )
    project.output = project.run("dvc", "repro").stdout
    return project


def test_nothing_is_simulated(own):
    assert "simulate" not in own.output
    assert not (own.folder / "data/raw/simulated").exists()
    assert own.json("results/data.json")["shots"] == 5 * ROWS


def test_their_hash_is_in_the_lock_and_the_run_is_tracked(own):
    deps = {dep["path"]: dep for dep in own.lock()["stages"]["prepare"]["deps"]}
    assert deps["data/raw/mine"]["md5"].endswith(".dir")
    run = own.runs("tags.stage = 'train'")[0]
    assert run.data.params["data.raw"] == "data/raw/mine"
    assert run.data.metrics["shots"] == own.json("results/evaluation.json")["shots"]


def test_prepared_frames_are_those_of_the_files(own):
    with PreparedFile(own.folder / "data/prepared/train.h5") as prepared:
        for i in (0, prepared.shots - 1):
            source = prepared.source_files[prepared.column("source.file")[i]]
            row = prepared.column("source.row")[i]
            with h5py.File(own.folder / "data/raw/mine" / source) as raw:
                assert raw["acq.peaksLabel"][row] == prepared.labels[i]
                frame = raw["xtcavimg"][row].astype(float) - 100
            expected = np.log1p(np.maximum(frame.reshape(363, 2, 284, 2).mean(axis=(1, 3)), 0))
            np.testing.assert_allclose(prepared.images(np.array([i]))[0], expected, atol=2.6e-4)  # half a quantum
