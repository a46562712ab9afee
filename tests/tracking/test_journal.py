import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, begin_event
from xtcav_ml.system.errors import disk_full
from xtcav_ml.tracking.journal import EVENTS, STALE, UPLOADED, Journal, ownerless

BEGIN = begin_event("one")
STEP = {"event": "metrics", "step": 1, "time_ms": 5, "values": {"loss": 0.1 + 0.2}}
END = {"event": "finish", "status": "FINISHED", "time_ms": 7}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


def events(journal, offset=0):
    return [event for event, _ in journal.events(offset)]


def test_events_come_back_as_they_were(folder):
    journal = Journal.create(folder, "a", BEGIN)
    journal.append(STEP)
    journal.close()
    (again,) = ownerless(folder)
    assert again.begin == BEGIN
    assert events(again) == [BEGIN, STEP]
    assert not again.finished
    again.append(END)
    assert again.finished


def test_a_copied_file_has_a_name_in_a_journal_of_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = tempfile.mkdtemp
    monkeypatch.setattr(
        tempfile, "mkdtemp", lambda **named: str(Path(make(**named)).absolute())
    )  # as from Python 3.12 on
    Path("picture.png").write_bytes(b"one")
    journal = Journal.create(Path("journal"), "a", BEGIN)
    assert journal.file_of(journal.copy(Path("picture.png"))).read_bytes() == b"one"


def test_a_torn_last_line_is_cut_off_and_what_comes_after_is_whole(folder):
    journal = Journal.create(folder, "a", BEGIN)
    journal.append(STEP)
    journal.close()
    whole = (folder / "a" / EVENTS).read_bytes()
    for torn in (len(whole) - 1, len(whole) - 7):
        (folder / "a" / EVENTS).write_bytes(whole[:torn])
        (again,) = ownerless(folder)
        assert events(again) == [BEGIN]
        again.append(STEP)
        assert (folder / "a" / EVENTS).read_bytes() == whole
        again.close()


def test_what_the_store_has_is_read_after_a_restart_and_is_uploaded_again_if_that_is_damaged(folder):
    journal = Journal.create(folder, "a", BEGIN)
    journal.append(STEP)
    (_, first), _ = journal.events()
    journal.acknowledge(first, "run", "7")
    journal.close()
    (again,) = ownerless(folder)
    assert (again.offset, again.run_id, again.experiment_id, again.pending) == (first, "run", "7", 1)
    assert events(again, again.offset) == [STEP]
    again.close()
    (folder / "a" / UPLOADED).write_text("{")
    (again,) = ownerless(folder)
    assert (again.offset, again.run_id, again.pending) == (0, None, 2)
    again.close()


def test_a_journal_has_one_owner_and_none_once_that_was_killed(folder):
    create = f"owned = Journal.create(pathlib.Path({str(folder)!r}), 'a', {BEGIN})"
    wait = "print('created', flush=True); time.sleep(60)"
    code = f"from xtcav_ml.tracking.journal import Journal; import pathlib, time; {create}; {wait}"
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
    assert owner.stdout.readline() == b"created\n"
    assert not list(ownerless(folder))
    owner.kill()
    owner.communicate()
    assert [journal.begin for journal in ownerless(folder)] == [BEGIN]


def test_a_journal_goes_when_its_end_has_arrived_and_not_before(folder):
    journal = Journal.create(folder, "a", BEGIN)
    journal.acknowledge(journal.size, "run", "7")
    journal.close()
    (journal,) = ownerless(folder)
    journal.append(END)
    journal.close()
    (journal,) = ownerless(folder)
    journal.acknowledge(journal.size, "run", "7")
    journal.close()
    assert not list(folder.iterdir())


def test_a_kept_file_is_as_it_was_whatever_becomes_of_the_first(folder, tmp_path):
    journal = Journal.create(folder, "a", BEGIN)
    (tmp_path / "picture.png").write_text("before")
    copies = [journal.copy(tmp_path / "picture.png") for _ in range(2)]
    names = [copy["file"] for copy in copies]
    (tmp_path / "picture.png").write_text("after")
    assert [(journal.folder / name).read_text() for name in names] == ["before"] * 2
    assert {name.rpartition("/")[2] for name in names} == {"picture.png"}
    assert [journal.file_of(copy).read_text() for copy in copies] == ["before"] * 2
    (journal.folder / names[1]).write_text("befora")
    with pytest.raises(FileNotFoundError, match=r"picture\.png"):
        journal.file_of(copies[1])


def test_a_disk_that_is_full_leaves_whole_lines(folder, monkeypatch):
    journal = Journal.create(folder, "a", BEGIN)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(STEP)
    journal.append(END)
    journal.close()
    (again,) = ownerless(folder)
    assert events(again) == [BEGIN, END]


def test_a_line_with_room_for_its_start_is_told_as_a_full_disk(folder):
    journal = Journal.create(folder, "a", BEGIN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 9, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as error:
            journal.append(STEP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert disk_full(error.value)
    assert (journal.folder / EVENTS).stat().st_size == journal.size
    journal.append(END)
    assert events(journal) == [BEGIN, END]


def old(*written):
    """Return events as an earlier version wrote them."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in written)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: bytes(len(whole)),
        lambda whole: bytes(len(whole)) + b"\n",
        lambda whole: b"no json\n",
        lambda whole: b"\xff\xfe\n" + whole,
        lambda whole: b"[" * 100_000 + b"\n",
        lambda whole: b"\n" + whole,
        lambda whole: b"".join(whole.splitlines(keepends=True)[1:]),
        lambda whole: b"".join(whole.splitlines(keepends=True)[::2]),
        lambda whole: b"".join(whole.splitlines(keepends=True)[::-1]),
        lambda whole: whole + whole.splitlines(keepends=True)[1],
        lambda whole: whole + whole,
        lambda whole: whole.replace(b'"loss": 0.3', b'"loss": 0.2'),
        lambda whole: whole + old(STEP),
        lambda whole: old(["begin"]),
        lambda whole: old({"event": "begin"}),
        lambda whole: old(BEGIN, BEGIN),
        lambda whole: old(STEP),
        lambda whole: old(BEGIN, {**STEP, "values": [1]}),
        lambda whole: old(BEGIN, {"event": "spoil"}),
    ],
)
def test_a_damaged_journal_is_set_aside_and_the_others_are_read(folder, capsys, damage):
    journal = Journal.create(folder, "a", BEGIN)
    journal.append(STEP)
    journal.append(END)
    journal.close()
    Journal.create(folder, "b", BEGIN).close()
    damaged = damage((folder / "a" / EVENTS).read_bytes())
    (folder / "a" / EVENTS).write_bytes(damaged)
    assert [journal.folder.name for journal in ownerless(folder)] == ["b"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "a/events.jsonl: damaged journal, set aside as " in line
    assert "Fix: run `xtcav record`" in line
    assert (folder.parent / "damaged/a" / EVENTS).read_bytes() == damaged
    assert [journal.folder.name for journal in ownerless(folder)] == ["b"]
    assert not capsys.readouterr().err
    (folder / "a").mkdir()
    (folder / "a" / EVENTS).write_bytes(damaged)  # once more
    assert [journal.folder.name for journal in ownerless(folder)] == ["b"]
    assert len(list((folder.parent / "damaged").iterdir())) == 2


def test_a_journal_of_an_earlier_version_is_read_and_continued(folder):
    (folder / "a").mkdir(parents=True)
    (folder / "a" / EVENTS).write_bytes(old(BEGIN, STEP))
    (folder / "a" / UPLOADED).write_text(json.dumps({"offset": len(old(BEGIN)), "run_id": "r", "experiment_id": "7"}))
    (journal,) = ownerless(folder)
    assert (events(journal), journal.run_id, journal.pending) == ([BEGIN, STEP], "r", 1)
    journal.append(END)
    journal.close()
    (journal,) = ownerless(folder)
    assert events(journal) == [BEGIN, STEP, END]


@pytest.mark.parametrize(
    "state", ["[]", "{}", '{"offset": 3, "run_id": "r", "experiment_id": "7"}', "\0", '{"offset": "1"}']
)
def test_all_is_uploaded_again_if_what_the_store_has_is_not_known(folder, state):
    Journal.create(folder, "a", BEGIN).close()
    (folder / "a" / UPLOADED).write_text(state)
    (journal,) = ownerless(folder)
    assert (journal.offset, journal.run_id) == (0, None)


def test_what_a_kill_leaves_of_a_journal_that_had_not_begun_is_swept_when_it_is_nobody_s(folder, monkeypatch):
    folder.mkdir()
    begun = folder / ".abc.tmp.1"
    begun.mkdir()
    assert not list(ownerless(folder))
    assert begun.is_dir()  # its owner may be about to write to it
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + STALE + 1)
    assert not list(ownerless(folder))
    assert not begun.exists()


def test_a_file_among_the_journals_is_skipped_with_a_message(folder, capsys):
    Journal.create(folder, "a", BEGIN).close()
    (folder / "stray").write_text("x")
    assert [journal.begin for journal in ownerless(folder)] == [BEGIN]
    assert "stray" in capsys.readouterr().err


@pytest.mark.parametrize("accesses", range(4))
def test_a_journal_that_another_process_removes_meanwhile_is_passed_over(folder, monkeypatch, accesses):
    for name in ("a", "b"):
        Journal.create(folder, name, BEGIN).close()
    seen = []

    def removing(plain):
        def access(path, *arguments, **options):
            if "a" in (path.name, path.parent.name):
                if len(seen) == accesses:
                    shutil.rmtree(folder / "a")
                seen.append(path)
            return plain(path, *arguments, **options)

        return access

    for name in ("stat", "open"):
        monkeypatch.setattr(Path, name, removing(getattr(Path, name)))
    assert "b" in [journal.folder.name for journal in ownerless(folder)]
