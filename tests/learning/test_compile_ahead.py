import os
import subprocess
import sys

from xtcav_ml.learning import jobs


def compiled(folder):
    """Compile with a cache in `folder`, in a process of its own; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "xtcav_ml.learning.compile_ahead"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_what_is_compiled_at_installation_is_not_compiled_again(tmp_path):
    assert jobs.COMPILING in compiled(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert before
    assert compiled(tmp_path) == ""
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == before
