import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from xtcav_ml.cli import main

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "h5py", "numpy", "matplotlib", "pydantic")


def test_help_lists_every_command_with_what_it_does():
    said = CliRunner().invoke(main.app, ["--help"]).output
    for command in main.app.registered_commands:
        name = command.callback.__name__.replace("_", "-")
        assert re.search(rf"\b{name}\b +[A-Z]", said), f"{name} has no help"


@pytest.mark.parametrize("command", [one.callback.__name__.replace("_", "-") for one in main.app.registered_commands])
def test_each_command_has_help(command):
    assert CliRunner().invoke(main.app, [command, "--help"]).exit_code == 0


def test_help_imports_nothing_that_takes_time():
    script = f"import sys, xtcav_ml.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
    assert done.stderr.startswith(f"xtcav: {out.split('/')[0]}: must be a file or folder that can be read and written")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "a folder/note").read_text() == "mine"


def test_an_error_without_a_file_keeps_its_traceback(monkeypatch):
    def app():
        raise ConnectionError("of a library")

    monkeypatch.setattr(main, "app", app)
    monkeypatch.setattr(main.interrupts, "listen", lambda: None)
    with pytest.raises(ConnectionError):
        main.main()


def test_a_mistake_is_one_line_and_no_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xtcav", "check"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("xtcav: params.yaml: cannot be read")
    assert len(said.splitlines()) == 1
