import os

import pytest

from xtcav_ml import atomic


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


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    (tmp_path / ".out.h5.tmp.123").write_text("half")
    atomic.write_json(tmp_path / "out.h5", 1)
    assert os.listdir(tmp_path) == ["out.h5"]


def test_nan_is_not_written_as_invalid_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "x.json", float("nan"))
    assert os.listdir(tmp_path) == []


def test_a_kill_at_any_step_leaves_a_folder_whole_or_absent(tmp_path, monkeypatch):
    # every call that changes the file system is once the last one before the end
    class Killed(BaseException):
        pass

    calls = [(atomic.Path, "rename"), (atomic.Path, "replace"), (atomic, "_remove"), (atomic, "_fsync")]
    for owner, name in calls:
        for last in range(6):
            out = tmp_path / f"{name}{last}"
            out.mkdir()
            (out / "a").write_text("old")
            (out / "b").write_text("old")
            count = iter(range(100))
            real = getattr(owner, name)

            def dying(*args, real=real, count=count, last=last, **kwargs):
                if next(count) == last:
                    raise Killed
                return real(*args, **kwargs)

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, dying)
                try:
                    with atomic.replacing(out) as folder:
                        folder.mkdir()
                        (folder / "a").write_text("new")
                        (folder / "b").write_text("new")
                except Killed:
                    pass
            left = {path.name: path.read_text() for path in out.iterdir()} if out.exists() else {}
            assert left in ({}, {"a": "old", "b": "old"}, {"a": "new", "b": "new"})
            assert left or not out.exists()
