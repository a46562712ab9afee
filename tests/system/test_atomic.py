import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from xtcav_ml.system import atomic


def test_success_replaces_and_failure_leaves_the_old(tmp_path):
    path = tmp_path / "value.json"
    atomic.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert os.listdir(tmp_path) == ["value.json"]


def test_folder_is_swapped_as_a_whole(tmp_path):
    for names in (["a", "b"], ["c"]):
        with atomic.replacing(tmp_path / "set") as folder:
            folder.mkdir()
            for name in names:
                (folder / name).write_text(name)
    assert os.listdir(tmp_path / "set") == ["c"]


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.parametrize("name", ["out.h5", "out[1].h5", "a*?.h5"])
def test_leftovers_of_killed_writers_are_swept(tmp_path, dead, name):
    for number in (dead, f"old.{dead}", os.getpid(), "no number", 10**30):
        (tmp_path / f".{name}.tmp.{number}").write_text("half")
    atomic.write_json(tmp_path / name, 1)
    assert os.listdir(tmp_path) == [name]


def test_what_a_living_writer_is_at_is_left_to_it(tmp_path):
    living = tmp_path / f".out.h5.tmp.{os.getppid()}"
    living.write_text("half")
    atomic.write_json(tmp_path / "out.h5", 1)
    assert living.read_text() == "half"


def test_nan_is_not_written_as_invalid_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "x.json", float("nan"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["rename", "replace", "_remove", "_fsync"])
def test_an_interrupt_at_any_step_leaves_a_folder_as_it_was_or_as_it_shall_be(tmp_path, monkeypatch, step, when):
    owner = atomic if step.startswith("_") else atomic.Path
    real = getattr(owner, step)
    for last in range(6):  # every call that changes the file system is once the one at which it comes
        out = tmp_path / f"{last}" / "out"
        out.mkdir(parents=True)
        (out / "a").write_text("old")
        (out / "b").write_text("old")
        count = iter(range(100))

        def interrupted(*args, count=count, last=last):
            now = next(count) == last
            if now and when == "before":
                raise KeyboardInterrupt
            real(*args)
            if now:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(owner, step, interrupted)
            try:
                with atomic.replacing(out) as folder:
                    folder.mkdir()
                    (folder / "a").write_text("new")
                    (folder / "b").write_text("new")
            except KeyboardInterrupt:
                pass
        left = {path.name: path.read_text() for path in out.iterdir()}
        assert left in ({"a": "old", "b": "old"}, {"a": "new", "b": "new"})
        assert os.listdir(out.parent) == ["out"]


def test_a_table_is_written_by_names(tmp_path):
    atomic.write_csv(tmp_path / "a.csv", [{"a": 1, "b": "x,y"}, {"c": 0.1, "a": 2}, {}])
    assert (tmp_path / "a.csv").read_text() == 'a,b,c\n1,"x,y",\n2,,0.1\n,,\n'


def test_no_other_writer_of_tables_exists():
    """One writer, by names: rows written by position can shift."""
    writers = ("csv.writer", "DictWriter", ".to_csv", "savetxt")
    found = {
        (path.name, writer) for path in (ROOT / "src").rglob("*.py") for writer in writers if writer in path.read_text()
    }
    assert found == {("atomic.py", "DictWriter")}
