"""Two hundred raw files that are meant to harm, through scan, check, prepare and predict: the work is done or one line says
why not, within two seconds of the processor and a bounded memory; nothing hangs, crashes or ends in a traceback.
"""

import contextlib
import io
import json
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from tests.conftest import SHAPE, write_shots
from tests.hostile_raw_files import FILES, ROWS, Spoil
from xtcav_ml.config.params_file import Params
from xtcav_ml.learning.predictor import Prediction
from xtcav_ml.pipeline import check, prepare
from xtcav_ml.science.images import Dark
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import predict, scan

pytestmark = pytest.mark.forks

MEMORY = 2**30 + 2**28
"""Bytes of address space beside those that are in use: HDF5's cache may take a gigabyte of them."""
STEP = 20  # files from one to the next in the shorter test
LIMIT = 8  # seconds of processor time after which a command is ended: it hangs
LONGEST = 300  # letters of a line


class Blind:
    """A model that sees nothing: to load a network takes seconds, and the files do not reach it."""

    device = "nothing"

    def __init__(self, spec: LearningSpec) -> None:
        self.spec = spec

    def predict(self, frames, features):
        return Prediction(np.full((len(frames), len(self.spec.classes)), 0.5, np.float32), np.zeros((len(frames), 0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, params):
    """A project of good files, with a pipe beside them."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "raw").mkdir()
    write_shots(folder / "raw/dark.h5", run=68, count=4, lasing=0)
    for run in (70, 71):
        write_shots(folder / f"raw/r{run}.h5", run=run, count=60)
    os.mkfifo(folder / "raw/pipe")
    write_shots(folder / "good.h5", run=70, count=ROWS, first=500)
    (folder / "model.keras").write_bytes(b"any")
    return folder


def commands(params: Params) -> dict[str, Callable[[], object]]:
    data = params.data.model_copy(update={"raw": "raw", "frame_shape": SHAPE})
    block = params.train.model.blocks[0].model_copy(update={"kernel": 1, "pool_window": 1, "pool_stride": 1})
    train = params.train.model_copy(update={"model": params.train.model.model_copy(update={"blocks": (block,)})})
    tune = params.tune.model_copy(update={"space": {}})
    split = params.prepare.split.model_copy(update={"block": 1, "gap": 0})  # fit for few shots
    rules = params.prepare.model_copy(update={"split": split})
    params = params.model_copy(update={"data": data, "prepare": rules, "train": train, "tune": tune})
    out = Path("out")
    return {
        "scan": lambda: scan.scan_folder(Path("raw"), data, params.prepare, as_json=False),
        "check": lambda: check.check_raw_files(params, out / "check.json"),
        "prepare": lambda: prepare.prepare_files(data, params.prepare, out / "prepared"),
        "predict": lambda: predict.predict_files(Path("model.keras"), [Path("raw/hostile.h5")], out, threads=1),
    }


def ended(command: Callable[[], object]) -> str:
    """Return in one word how a command ends: done, refused, or in what is not meant to be, with the words of it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            command()
    except UserError as error:
        line = str(error)
        problems = line.split("; raw/hostile.h5: ")
        if not line.isprintable() or max(map(len, problems)) > LONGEST:
            return f"line of {len(line)}: {line[:400]!r}"
        return f"refused: {line}"
    except BaseException:
        return traceback.format_exc()
    text = printed.getvalue()
    lines = [line for line in text.splitlines() if not line.isprintable() or len(line) > 2 * LONGEST]
    return f"printed {lines[0][:400]!r}" if lines else "done"


def judged(folder: Path, params: Params) -> Iterator[tuple[str, float, str]]:
    """Yield for each command what it takes of the processor, s, and how it `ended`."""
    for name in commands(params):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            judge(folder, params, name, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        yield (name, *(json.loads(answer) if answer else (LIMIT, f"ended with {end}")))


def judge(folder: Path, params: Params, name: str, writer: int) -> NoReturn:
    """Run a command in this process, which is a fork, and write what it took and how it ended."""
    try:
        os.chdir(folder)
        before = time.process_time()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + LIMIT,) * 2)
        words = ended(commands(params)[name])
        spent = [sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        os.write(writer, json.dumps([sum(spent) - before, words[-5000:]]).encode())
    finally:
        os._exit(0)


def make(folder: Path, spoil: Spoil) -> Path:
    file = folder / "raw/hostile.h5"
    with contextlib.suppress(OSError):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    file.write_bytes((folder / "good.h5").read_bytes())
    spoil(file)
    return file


@pytest.fixture
def blind(params, monkeypatch):
    """`predict` with a model that sees nothing."""
    dark = Dark(np.full(SHAPE, 100, np.float32), np.full(SHAPE, 3, np.float32))
    spec = LearningSpec.of(params.prepare, SHAPE, dark)
    monkeypatch.setattr(predict, "Predictor", lambda path, threads, sealed: Blind(spec))


def faults(folder: Path, params: Params, names: Collection[str]) -> tuple[list[str], Counter[str]]:
    """Return what is not meant to be of files, by name, and how often commands are done or refuse one."""
    wrong, ends = [], Counter[str]()
    for name in names:
        make(folder, FILES[name])
        for command, seconds, words in judged(folder, params):
            word = words.partition(":")[0]
            ends[word] += 1
            if seconds >= LIMIT or word not in ("done", "refused"):
                wrong.append(f"{name}: {command}: {seconds:.1f} s, {words[-1000:]}")
    return wrong, ends


def test_the_good_file_is_read(blind, folder, params):
    make(folder, lambda path: None)
    assert [words for _, _, words in judged(folder, params)] == ["done"] * 4


def test_some_of_the_files(blind, folder, params):
    wrong, _ = faults(folder, params, list(FILES)[::STEP])
    assert not wrong


@pytest.mark.slow
def test_all_files(blind, folder, params):
    assert len(FILES) >= 200
    wrong, ends = faults(folder, params, FILES)
    print(f"{len(FILES)} files: {dict(ends)}")
    assert not wrong
