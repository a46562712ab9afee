"""DVC's own files as a kill leaves them: mended where nothing can be lost, else one line with a cure."""

import json
import subprocess
import sys

import pytest

from xtcav_ml.lineage import dvc_files
from xtcav_ml.system.errors import UserError

TORN = [b"", b"\0" * 40, b'{"write": {"a": {"pid": 1', b"[]", b'{"read": 7}', b"\xff\xfe", b"[" * 100_000]


@pytest.fixture
def busy(tmp_path):
    path = tmp_path / dvc_files.BUSY
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("content", TORN)
def test_a_torn_list_of_processes_is_removed_where_none_runs(tmp_path, busy, content, capsys):
    busy.write_bytes(content)
    dvc_files.require_usable(tmp_path)
    assert not busy.exists()
    assert "removed" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["", "data"])
def test_while_one_runs_it_is_named(tmp_path, busy, folder):
    busy.write_bytes(b"")
    (tmp_path / "data").mkdir()
    program = tmp_path / "dvc"
    program.write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen([sys.executable, program, "repro"], cwd=tmp_path / folder, stdout=subprocess.PIPE) as running:
        try:
            running.stdout.readline()
            with pytest.raises(UserError, match=f"rwlock: damaged .* wait for process {running.pid} of DVC"):
                dvc_files.require_usable(tmp_path)
            assert busy.exists()
        finally:
            running.kill()


def test_a_whole_list_is_left_to_dvc(tmp_path, busy):
    busy.write_text(json.dumps({"write": {"a": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}))
    dvc_files.require_usable(tmp_path)
    assert busy.exists()


@pytest.mark.parametrize("name", ["dvc.lock", "data/raw/dvc.lock"])
@pytest.mark.parametrize("content", [b"", b"\0" * 30, b"- a\n", b"stages: 5\n", b"stages: {train: [", b"\xff\xfe\xfa"])
def test_a_damaged_lock_is_named_with_its_cure(tmp_path, name, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^{name}: damaged .*`git checkout {name}`, or remove it"):
        dvc_files.require_usable()
