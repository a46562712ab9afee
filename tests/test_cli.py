import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from xtcav_ml import cli

HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "h5py", "numpy", "matplotlib", "pydantic")


def test_help_lists_every_command_with_what_it_does():
    said = CliRunner().invoke(cli.app, ["--help"]).output
    for command in cli.app.registered_commands:
        name = command.callback.__name__
        assert re.search(rf"\b{name}\b +[A-Z]", said), f"{name} has no help"


@pytest.mark.parametrize("command", [command.callback.__name__ for command in cli.app.registered_commands])
def test_each_command_has_help(command):
    assert CliRunner().invoke(cli.app, [command, "--help"]).exit_code == 0


def test_help_imports_nothing_that_takes_time():
    script = f"import sys, xtcav_ml.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_mistake_is_one_line_and_no_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xtcav", "check"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("xtcav: params.yaml: cannot be read")
    assert len(said.splitlines()) == 1
