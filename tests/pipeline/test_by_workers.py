"""Shards made by real workers of Dask, one of which is killed: the bytes are those of one process."""

import os
import pickle
import signal
import time

import pytest

from tests.conftest import SHAPE, write_shots
from tests.pipeline.test_kept import digests
from xtcav_ml.config.data import DataParams
from xtcav_ml.pipeline import by_workers, prepare
from xtcav_ml.pipeline.frames import make_shard
from xtcav_ml.system import workers
from xtcav_ml.system.errors import UserError


@pytest.fixture
def data(raw_folder):
    for number in range(4):
        write_shots(raw_folder / f"more{number}.h5", run=80 + number, count=40)
    return DataParams(raw=str(raw_folder), frame_shape=SHAPE, bad_files="fail")


def die_once(tell, like, task, threads):
    """Be a worker that is killed in the middle of its shard, the first time."""
    mark = task.shard.with_suffix(".begun")
    if task.raw.name == "more1.h5" and not mark.exists():
        mark.touch()
        tell(16)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return by_workers.run_task(tell, like, task, threads)


def test_workers_of_which_one_is_killed_write_the_bytes_of_one_process(data, params, tmp_path, capsys):
    counted = []

    def make(tasks, advance):
        def count(frames):
            counted.append(frames)
            advance(frames)

        with (
            pytest.MonkeyPatch.context() as patch,
            workers.opened(workers.LOCAL, 2, 1, 1.0, tmp_path / "certificates") as crew,
        ):
            submit = crew.submit
            patch.setattr(crew, "submit", lambda name, _, *rest: submit(name, die_once, *rest))
            by_workers.make_by_workers(crew, tasks, count)

    prepare.prepare_files(data, params.prepare, tmp_path / "alone")
    prepare.prepare_files(data, params.prepare, tmp_path / "shared", kept=tmp_path / "kept", make=make)
    assert digests(tmp_path / "alone") == digests(tmp_path / "shared")
    assert sum(counted) == 760  # none twice
    assert "its worker" in capsys.readouterr().out


def test_the_option_of_the_command_gives_the_same_bytes_with_paths_of_this_folder(data, params, tmp_path, monkeypatch):
    prepare.prepare_files(data, params.prepare, tmp_path / "alone")
    monkeypatch.chdir(tmp_path)
    data = data.model_copy(update={"raw": "raw"})
    make = by_workers.maker(None, 2, tmp_path / "certificates")
    prepare.prepare_files(data, params.prepare, (tmp_path / "shared").relative_to(tmp_path), make=make)
    assert digests(tmp_path / "alone") == digests(tmp_path / "shared")


def tasks_of(data, params, tmp_path):
    """Return the tasks of a prepare whose shards are then not there."""
    kept = []

    def make(tasks, advance):
        kept.extend(tasks)
        raise UserError("enough")

    with pytest.raises(UserError, match="enough"):
        prepare.prepare_files(data, params.prepare, tmp_path / "none", kept=tmp_path / "kept", make=make)
    return kept


def test_a_worker_with_other_code_or_whose_driver_is_gone_writes_nothing(data, params, tmp_path):
    task = tasks_of(data, params, tmp_path)[0]
    like = by_workers.computes()
    with pytest.raises(UserError, match=r"other code \(found \w+, expected another.* Fix: "):
        by_workers.run_task(lambda _: True, like | {"code": "another"}, task, 1)
    with pytest.raises(by_workers.Withdrawn):
        by_workers.run_task(lambda _: False, like, task, 1)
    assert not task.shard.exists()
    assert not list(task.shard.parent.glob(".*.tmp.*"))


def test_a_task_goes_to_another_process(data, params, tmp_path):
    task = tasks_of(data, params, tmp_path)[0]
    make_shard(task, lambda _: None)
    before = task.shard.read_bytes()
    task.shard.unlink()
    make_shard(pickle.loads(pickle.dumps(task)), lambda _: None)
    assert task.shard.read_bytes() == before


def test_what_a_worker_refuses_ends_prepare_with_its_line(data, params, tmp_path):
    def make(tasks, advance):
        (tmp_path / "raw/more2.h5").touch()  # changes its state
        by_workers.maker(None, 2, tmp_path / "certificates")(tasks, advance)

    with pytest.raises(UserError, match=r"more2\.h5: changed while it was read"):
        prepare.prepare_files(data, params.prepare, tmp_path / "none", make=make)
    assert not (tmp_path / "none").exists()
