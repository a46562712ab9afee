"""What numba compiles works without a folder for it, and says so once."""

import functools
import pickle
import subprocess
import sys

import numba
import pytest
from numba.core import caching

from xtcav_ml.system import machine_code

DECORATORS = {
    "function": functools.partial(numba.njit, "int64(int64)"),
    "callback": functools.partial(numba.cfunc, "int64(int64)"),
}


def double(number):
    return 2 * number


@pytest.fixture(autouse=True)
def unwarned():
    machine_code._warn.cache_clear()


@pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)
def test_what_was_compiled_is_kept(decorate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    machine_code.cached(decorate, double)
    assert list(tmp_path.rglob("*double*.nbc"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)
def test_without_a_folder_it_is_compiled_into_memory_and_one_line_says_so(decorate, monkeypatch, capsys):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])  # as where no folder can be written to
    found = [machine_code.cached(decorate, function) for function in (double, lambda number: number + number)]
    assert all(getattr(each, "ctypes", each)(21) == 42 for each in found)
    (line,) = capsys.readouterr().err.splitlines()
    assert "numba's cache: not usable" in line
    assert line.endswith("Fix: set NUMBA_CACHE_DIR to another")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), EOFError(), pickle.UnpicklingError("torn")])
def test_neither_does_a_full_disk_nor_a_torn_file_end_a_training(error, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(caching.Cache, "load_overload", fail)
    assert machine_code.cached(DECORATORS["callback"], double).ctypes(21) == 42
    assert "expected one" in capsys.readouterr().err


def test_a_mistake_in_the_code_is_no_fault_of_the_cache():
    with pytest.raises(numba.core.errors.NumbaError):
        machine_code.cached(DECORATORS["callback"], lambda number: number.nothing)


ALL = """
import numpy as np
from numba.core import caching
caching.CacheImpl._locator_classes = []
from xtcav_ml.config.train import Augment
from xtcav_ml.learning import augment
from types import SimpleNamespace
frames = np.arange(6, dtype=np.int16).reshape(1, 2, 3)
varied = augment.Augmentation(Augment(), SimpleNamespace(steps=(), unit=1)).apply(frames, np.random.default_rng(1))
assert (varied == frames).all()
from xtcav_ml.science import images
assert images.block_mean(frames, 1).tolist() == frames.tolist()
assert images.log(frames)[0, 0, 0] == 0
"""


def test_every_loop_of_the_project_does_without_a_folder():
    """TensorFlow's operation, which takes many seconds to import and compile, is compiled by the same function."""
    done = subprocess.run([sys.executable, "-c", ALL], capture_output=True, text=True, check=True)
    assert done.stderr.count("numba's cache") == 1


def test_nothing_is_compiled_past_it(pytestconfig):
    sources = (pytestconfig.rootpath / "src").rglob("*.py")
    assert [path.name for path in sources if "cache=True" in path.read_text()] == ["machine_code.py"]
