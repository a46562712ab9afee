"""`make bench`: ways are timed in turns, do the same work, and stand in tables beside the limits of the machine."""

import ast
import importlib.util
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from benchmarks import contenders, data, machine, raw, tables, training, workers
from benchmarks.__main__ import PARTS, READING, RESULTS, keep
from benchmarks.contenders import Contender, Unavailable
from tests.conftest import ROOT
from xtcav_ml.data.prepared import PreparedFile


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("docs/*.py")]), ids=lambda path: path.name
)
def test_whatever_is_imported_of_the_package_is_there(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("xtcav_ml", "benchmarks"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                    alias.name
                )


def test_gains_and_costs_of_workers_are_medians_within_a_turn(capsys):
    found = [{"a": 8.0, "b": 5.0}, {"a": 30.0, "b": 10.0}, {"a": 9.0, "b": 9.0}]
    assert workers.ratio(found, "a", "b") == 1.6
    assert (workers.seconds(found, "a"), workers.seconds(found, "a", "b")) == (9, 3)
    scaled = {"one worker": 10.0, "two workers": 8.0, "one process": 10.0, "two processes": 5.0}
    single = {"nothing": 0.01, "worker": 2.75, "process": 2.5, "alone": 2.0}
    workers.show([scaled], [single | {name + workers.SPENT: 2 * value for name, value in single.items()}])
    said = capsys.readouterr().out
    for line in ("workers | 1.25", "engine | 2.00", "over processes | 0.62"):
        assert f"{line} |" in said
    for line in (
        "by one worker | 2.75 | 5.50",
        "than a process | 0.25 | 0.50",
        "than the training itself | 0.75 | 1.50",
    ):
        assert f"{line} |" in said


def test_what_processors_spend_on_a_child_counts():
    before = workers.spent()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert workers.spent() - before > 0.4


def test_no_turn_of_workers_begins_that_would_end_too_late(monkeypatch):
    clock, lasting = [0], {"a": 3, "b": 0}
    monkeypatch.setattr(workers, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))

    def way(name):
        return lambda: clock.append(clock.pop() + lasting[name])

    for until, turns in {0: 1, 10: 3}.items():
        clock[0] = 0
        found = workers.turns(until, {name: way(name) for name in lasting})
        assert [(turn["a"], turn["b"]) for turn in found] == [(3, 0)] * turns


def sleeper(seconds):
    return lambda: time.sleep(seconds), [seconds]


def allocator(megabytes):
    return lambda: np.ones(megabytes * 125_000), None


def needs_what_nobody_has():
    import no_such_library  # noqa: F401


def ends():
    raise SystemExit(3)


def test_each_contender_is_timed_in_a_process_of_its_own_and_says_how_much_memory_it_took():
    first, second = Contender(allocator, 1), Contender(allocator, 200)
    times = contenders.in_turns({"small": first, "large": second}, turns=3)
    assert [len(each) for each in times.values()] == [3, 3]
    assert second.end() - first.end() > 150


def test_the_first_turn_does_not_count_and_ways_take_turns():
    calls = []

    def way(name):
        return lambda: float(len(calls)) if calls.append(name) is None else 0.0

    times = contenders.in_turns({"a": way("a"), "b": way("b")}, turns=2)
    assert calls == ["a", "b"] * 3
    assert times == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_library_that_is_not_installed_is_left_out_and_named(capsys):
    found = contenders.started({"theirs": (needs_what_nobody_has,), "ours": (sleeper, 0)})
    assert list(found) == ["ours"]
    assert "no_such_library" in capsys.readouterr().out
    found["ours"].end()
    with pytest.raises(Unavailable):
        Contender(needs_what_nobody_has)


def test_a_contender_that_ends_early_is_named_with_its_exit_code():
    with pytest.raises(RuntimeError, match="exit code 3"):
        Contender(ends)


def test_contenders_that_compute_something_else_are_refused():
    same, other = Contender(sleeper, 0), Contender(sleeper, 0.5)
    contenders.require_same({"one": same, "two": same})
    with pytest.raises(RuntimeError, match=r"two and one .* 0\.5"):
        contenders.require_same({"one": same, "two": other})
    same.end(), other.end()


def test_rows_say_ratio_spread_and_share_of_the_limit():
    times = {"ours": [1.0, 2.0, 3.0], "theirs": [2.0, 4.0, 9.0]}
    ours, theirs = tables.rows("a step", times, 2, {"ours": 100.0}, ("a copy", 0.25))
    assert (ours.seconds, ours.ratio, ours.spread, ours.peak_mb, ours.share) == (1.0, 1.0, 0.25, 100.0, 0.25)
    assert (theirs.seconds, theirs.ratio, theirs.peak_mb) == (2.0, 2.0, None)
    table = tables.markdown([ours, theirs]).splitlines()
    assert table[0].startswith("| work | way | time | spread | times the first | peak memory |")
    assert table[3] == "|  | theirs | 2 s | 44% | 2.00 |  | a copy, 250 ms | 12% |"


def test_the_99th_percentile_is_of_many_turns_alone():
    few, many = (tables.rows("a frame", {"ours": [1 + i / 1000 for i in range(count)]}, 1)[0] for count in (99, 1001))
    assert (few.tail, many.tail) == (None, 1.99)
    assert tables.markdown([many]).splitlines()[2] == "| a frame | ours | 1.5 s | 1.99 s | 17% | 1.00 |"


def test_columns_that_are_empty_are_left_out():
    (row,) = tables.rows("a step", {"ours": [1e-5]}, 1)
    assert tables.markdown([row]).splitlines()[2] == "| a step | ours | 10 us | 0% | 1.00 |"


def test_the_machine_is_named_and_its_limits_follow_from_their_times():
    assert "cores" in machine.described()
    rates = machine.rates({"matrix product": [1.0], "copy": [0.5]})
    assert rates == {"matrix product": 2 * machine.SIDE**3, "copy": 4 * machine.COPIED}


def test_a_part_that_is_measured_again_leaves_the_tables_of_the_others(tmp_path):
    out = tmp_path / "tables.md"
    for part, text in (
        ("frames", "old"),
        ("pipeline", "of the pipeline"),
        ("training", "of training"),
        ("frames", "new"),
    ):
        keep(out, part, text)
    lines = [line for line in out.read_text().removeprefix(READING).splitlines() if line]
    assert lines == ["## Training", "of training", "## Frames", "new", "## Pipeline", "of the pipeline"]


def test_the_kept_tables_are_as_they_would_be_written(tmp_path):
    before = RESULTS.read_text()
    assert tuple(line[3:].lower() for line in before.splitlines() if line.startswith("## ")) == PARTS
    again = tmp_path / "tables.md"
    again.write_text(before)
    training = before.split("## Training\n\n")[1].split("\n## ")[0]
    keep(again, "training", training)
    assert again.read_text() == before


def test_a_copy_is_by_all_cores_and_of_all_bytes(monkeypatch):
    monkeypatch.setattr(machine, "COPIED", 1001)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    copied = []
    monkeypatch.setattr(machine.np, "copyto", lambda target, source: copied.append(len(source)))
    machine.copy()[0]()
    assert sorted(copied) == [333, 334, 334]


@pytest.mark.parametrize("kept", [(24, 20), (12, 10)], ids=["whole", "middle"])
def test_frames_are_prepared_whole_or_their_middle(tmp_path, kept):
    raw.write(tmp_path / "raw", 120, (24, 20))
    with PreparedFile(raw.prepare(tmp_path / "raw", tmp_path / "prepared", (24, 20), kept)) as train:
        assert train.stored(np.arange(1)).shape[1:3] == kept


def test_all_contenders_train_on_the_shots_that_were_prepared(tmp_path):
    raw.write(tmp_path / "raw", 120, (24, 20))
    path = raw.prepare(tmp_path / "raw", tmp_path / "prepared", (24, 20), (12, 10))
    images, labels = training.Work("modern", path, (12, 10), batch=4, steps=2, threads=1).arrays()
    assert (images.shape, images.dtype, labels.shape) == ((8, 12, 10, 1), np.int16, (8,))
    assert images.std() > 0


def test_many_small_files_are_measured(tmp_path):
    assert next(row.way for row in data.many_files(tmp_path, 30, 1)) == "this project, all checks"


@pytest.mark.slow
def test_everything_is_measured_in_tiny(tmp_path):
    parts = ("training", "frames", "data")
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--quick",
        "--turns",
        "2",
        "--out",
        tmp_path / "r.md",
        "--only",
        *parts,
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    assert [line for line in (tmp_path / "r.md").read_text().splitlines() if line.startswith("## ")] == [
        f"## {part.capitalize()}" for part in parts
    ]
