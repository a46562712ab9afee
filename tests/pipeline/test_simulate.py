"""The stage end to end, on a few shots."""

import hashlib
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.schema import IMAGE, SCHEMA
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.pipeline import simulate
from xtcav_ml.science.simulation import simulator
from xtcav_ml.system.errors import UserError

TREE = read_tree(Path(__file__).parents[2] / "params.yaml")["simulate"]


def params(**changes):
    few = {"shots_per_file": 30, "dark_shots": 2, "no_lasing_shots": 1, "lasing_shots": [32]}
    return validate_section(TREE | few | changes, SimulateParams, "simulate")


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "simulated"
    simulate.simulate_files(params(), folder)
    return folder


def test_files_are_named_and_filled_as_those_of_the_experiment(out):
    assert list(digests(out)) == [
        "amo86815_mlearn-r068-c0000.h5",
        "amo86815_mlearn-r069-c0000.h5",
        "amo86815_mlearn-r070-c0000.h5",
        "amo86815_mlearn-r070-c0001.h5",
    ]
    expected = simulator.simulate_shots(params(), 70, 0, 32)
    for file_name, rows in (
        ("amo86815_mlearn-r070-c0000.h5", slice(0, 30)),
        ("amo86815_mlearn-r070-c0001.h5", slice(30, 32)),
    ):
        with h5py.File(out / file_name) as file:
            assert set(file) == set(expected)
            for name in SCHEMA:
                np.testing.assert_array_equal(file[name][:], expected[name][rows], err_msg=name)
            assert file[IMAGE].chunks == (1, *SCHEMA[IMAGE].row_shape)
            assert file[IMAGE].fletcher32


def test_again_gives_the_same_bytes_in_place_of_the_old(out, tmp_path, capsys):
    again = tmp_path / "simulated"
    again.mkdir()
    (again / "stale.h5").write_text("old")
    simulate.simulate_files(params(), again)
    assert digests(again) == digests(out)
    printed = capsys.readouterr().out
    assert "35 shots" in printed
    assert "run 70: no peaks" in printed


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1_000_000))
    with pytest.raises(UserError, match=r"simulated: .*found 0\.00 GB free, expected 0\.0\d GB"):
        simulate.simulate_files(params(), tmp_path / "deep" / "simulated")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_a_shot_cannot_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr(simulate, "plan_files", lambda params: iter([simulate.ShotFile(99, 0, 0, 1)]))
    with pytest.raises(ValueError, match="run must be one of"):
        simulate.simulate_files(params(), tmp_path / "simulated")
    assert not list(tmp_path.iterdir())


def test_size_is_that_of_the_rows(out):
    size = sum(path.stat().st_size for path in out.iterdir())
    assert size == pytest.approx(35 * simulate.BYTES_PER_SHOT, rel=0.05)
