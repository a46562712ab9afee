import functools
import importlib
import os
import re
import shlex
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from tests.conftest import ROOT
from xtcav_ml import cli
from xtcav_ml.cli import main
from xtcav_ml.system import first_word, streams
from xtcav_ml.system.errors import UserError

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "h5py", "numpy", "matplotlib", "pydantic", "rich")


def run(*arguments: str) -> str:
    """Return what the program prints on a terminal of 80 columns."""
    return CliRunner().invoke(main.application(main.files()), arguments, terminal_width=80).output


@pytest.fixture(scope="module")
def help_lines() -> list[str]:
    return run("--help").splitlines()


def test_help_lists_every_command_in_its_group(help_lines):
    listed, group = {}, ""
    for line in help_lines:
        if heading := re.fullmatch(r"(\S.*):", line):
            group = heading[1]
        elif command := re.match(r"  ([a-z][a-z-]*) +[A-Z]", line):
            listed.setdefault(group, []).append(command[1].replace("-", "_"))
    assert tuple(listed) == main.GROUPS
    assert listed["Pipeline stages"] == list(main.ORDER)
    assert sorted(name for names in listed.values() for name in names) == main.files()


def test_every_summary_is_whole_at_80_columns(help_lines):
    assert max(map(len, help_lines)) <= 80
    first_command = help_lines.index("Pipeline stages:")
    for line in filter(None, help_lines[first_command:]):
        assert re.fullmatch(r"\S.*:|  [a-z-]+ +[A-Z].*\.", line), "a summary that goes on in the next line"
        assert "..." not in line


@pytest.mark.parametrize("name", main.files())
def test_the_help_of_a_command_fits_80_columns(name):
    lines = run(name.replace("_", "-"), "--help").splitlines()
    assert lines[0].startswith("Usage: ")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", main.files())
def test_the_help_of_a_command_ends_with_examples_that_it_takes(name):
    lines = run(name.replace("_", "-"), "--help").splitlines()
    examples = lines[lines.index("Examples:") + 1 :]
    own = [shlex.split(line, comments=True) for line in examples if line.startswith("  xtcav ")]
    assert own
    command = typer.main.get_command(main.application([name, "runs" if name != "runs" else "sync"]))
    for program, called, *arguments in own:
        assert (program, called) == ("xtcav", name.replace("_", "-"))
        command.commands[called].make_context(called, arguments)  # raises for an argument or option that is none


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(streams._Stream, "used", False)
    monkeypatch.setattr(first_word, "SECONDS", 0.03)
    monkeypatch.setattr(first_word, "LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("printed", "terminal", "stage", "words"),
    [(False, True, "", 1), (True, True, "", 0), (False, False, "", 0), (False, True, "train", 0)],
)
def test_a_word_is_said_on_a_terminal_where_nothing_was_printed(monkeypatch, capfd, printed, terminal, stage, words):
    monkeypatch.setattr(streams._Stream, "used", printed)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    if stage:
        monkeypatch.setenv("DVC_STAGE", stage)
    with first_word.within_a_second("train"):
        time.sleep(0.1)
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == words * "xtcav: train: is at work\n"


@pytest.mark.usefixtures("_quick")
def test_the_word_names_what_is_imported_also_in_a_stage(tmp_path, monkeypatch, capfd):
    (tmp_path / "slow_library.py").write_text("import time\ntime.sleep(0.2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(first_word, "SLOW", {"slow_library": "the slow library"})
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with first_word.within_a_second("train"):
        time.sleep(0.05)
        importlib.import_module("slow_library")
    assert capfd.readouterr().err == "xtcav: train: loads the slow library\n"


@pytest.mark.parametrize("name", main.files())
def test_a_stopped_command_says_what_is_kept_and_how_to_go_on(name, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    module = importlib.import_module(f"xtcav_ml.cli.{name}")
    monkeypatch.setattr(module, name, functools.wraps(getattr(module, name))(stop))
    needed = {"compare": ["a", "b"], "predict": ["m", "f"], "serve": ["m"], "reproduce": ["r"], "promote_model": ["r"]}
    needed |= {"import": ["lcls2017", "f"]}
    app = main.application([name, "runs" if name != "runs" else "sync"])
    done = CliRunner().invoke(app, [name.replace("_", "-"), *needed.get(name, [])])
    assert done.exit_code == 130
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"xtcav: {name.replace('_', '-')}: stopped: ")
    assert "; " in line
    long = {"simulate", "check", "prepare", "train", "evaluate", "record", "tune", "experiment", "predict", "reproduce"}
    assert (main.NOTHING_HALF in line) != (name in long | {"seeds", "serve", "sync", "ui", "dashboard"})


@pytest.mark.parametrize("arguments", [["scan", "--help"], ["promote-model", "--help"], ["--help"]])
def test_only_the_file_of_the_command_is_imported(arguments):
    script = f"""
import sys
from xtcav_ml.cli.main import main
sys.argv = ["xtcav", *{arguments}]
try:
    main()
finally:
    print(sorted(name for name in sys.modules if name.startswith("xtcav_ml.cli.")), file=sys.stderr)
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    expected = main.files() if arguments == ["--help"] else [arguments[0].replace("-", "_")]
    names = [f"xtcav_ml.cli.{name}" for name in sorted(["main", *expected])]
    assert done.stderr.splitlines() == [str(names), "[]"]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("pipeline.validate, xtcav_ml.lineage.changed", "h5py rich mlflow"),
        ("tracking.record, xtcav_ml.tracking.result_run", "pydantic numpy mlflow"),
        ("report.current, xtcav_ml.tools.summary", "numpy h5py mlflow"),
    ],
)
def test_a_make_repro_with_nothing_to_do_waits_for_no_library_that_it_does_not_need(modules, heavy):
    script = f"import sys, xtcav_ml.{modules}; print(sorted({set(heavy.split())} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_a_new_command_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "say_hello.py").write_text(
        'GROUP = "Data"\nEXAMPLES = ("xtcav say-hello",)\n\ndef say_hello():\n    """Greet."""\n    print("hello")\n'
    )
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    assert "hello\n" in run("say-hello")
    assert re.search(r"Data:\n( .*\n)+  say-hello +Greet\.", run("--help"))


@pytest.mark.parametrize("out", ["a file/labels.h5", "a folder"])
def test_a_place_that_cannot_be_written_to_is_one_line(raw_folder, tmp_path, out):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder/note").write_text("mine")
    command = [
        sys.executable,
        "-c",
        "from xtcav_ml.cli.main import main; main()",
        "relabel",
        str(raw_folder),
        "--out",
        out,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"xtcav: {out.split('/')[0]}: not usable (found ")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "a folder/note").read_text() == "mine"


def test_an_error_without_a_file_keeps_its_traceback(monkeypatch):
    def application(_):
        raise ConnectionError("of a library")

    monkeypatch.setattr(main, "application", application)
    monkeypatch.setattr(main.interrupts, "listen", lambda: None)
    with pytest.raises(ConnectionError):
        main.main()


@pytest.mark.parametrize(
    ("command", "backend"),
    [("validate", "torch"), ("validate", "tensorfow"), ("train", "torch"), ("evaluate", "torch")],
)
def test_an_unusable_backend_is_one_line(tmp_path, command, backend):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    program = "import sys; from xtcav_ml.cli.main import main; sys.argv[0] = 'xtcav'; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, command],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert all(part in line for part in ("KERAS_BACKEND", repr(backend), "tensorflow or jax"))


def test_a_mistake_is_one_line_and_no_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xtcav", "check"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("xtcav: params.yaml: not readable")
    assert len(said.splitlines()) == 1


def test_the_version_and_the_short_help(capsys):
    done = CliRunner().invoke(main.application(["runs"]), ["--version"])
    assert done.exit_code == 0
    assert re.fullmatch(r"xtcav \d+\.\d+\.\d+\n", done.output)
    assert "Usage: " in CliRunner().invoke(main.application(["runs"]), ["-h"]).output
    assert "REVISION" in CliRunner().invoke(main.application(["runs", "sync"]), ["runs", "-h"]).output


def test_ctrl_c_before_a_command_has_begun_is_no_traceback(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.interrupts, "listen", lambda: None)
    monkeypatch.setattr(main.variables, "pin_process", lambda: None)
    monkeypatch.setattr(main.project, "require_own_code", stop)
    monkeypatch.setattr(sys, "argv", ["xtcav", "params"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("Invalid bounding box"), 130), (UserError("a.h5: damaged"), 1)]
)
def test_an_error_that_a_request_to_stop_has_become_ends_as_that_request(monkeypatch, error, code):
    """As where it came while a class was made, whose error Python wraps, or in a converter of C++ code."""

    def application(_):
        raise error

    monkeypatch.setattr(main, "application", application)
    monkeypatch.setattr(main.interrupts, "listen", lambda: None)
    monkeypatch.setattr(main.interrupts, "requested", lambda: True)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
