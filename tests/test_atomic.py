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
