"""What `make` refuses before it installs anything, and what its commands find in their environment."""

import os
import re
import shutil
import subprocess

from tests.conftest import ROOT

PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    "-m venv .venv")
        mkdir -p .venv/bin .venv/lib/python3.11/site-packages
        cp "$0" .venv/bin/python
        pwd > .venv/lib/python3.11/site-packages/_editable_impl_xtcav_ml.pth ;;
    *) echo "$*" >> called ;;
esac
"""
"""A Python that only gives its version, makes an environment with itself, and notes what else it is called with."""


def test_another_python_is_one_line_before_anything_is_installed(tmp_path):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, version in (("python3", "3.13"), ("python3.11", "3.11")):
        (programs / name).write_text(PYTHON.format(version=version))
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def make(*arguments):
        return subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    (tmp_path / ".venv/bin").mkdir(parents=True)
    for wrong in ("", "an environment"):
        if wrong:  # of another Python, made earlier
            shutil.copy(programs / "python3", tmp_path / ".venv/bin/python")
        refused = make("make", "--silent", "PYTHON=python3", "install")
        assert refused.returncode
        line = refused.stderr.splitlines()[0]
        assert "wrong Python (found 3.13, expected 3.11)" in line
        assert not (tmp_path / "called").exists()
    cure = re.findall("`([^`]*)`", line)[0]
    assert make("sh", "-c", cure).returncode == 0
    assert "pip install" in (tmp_path / "called").read_text()
    assert (tmp_path / ".venv/installed").exists()


def test_commands_keep_what_python_compiles():
    """Else each of them compiles all libraries that it imports; the variable is set in many a container."""
    rules = "include Makefile\nshown:\n\t@env\n"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "--silent", "-f", "-", "shown"]
    shown = subprocess.run(
        command, input=rules, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert f"PATH={ROOT}/.venv/bin:" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown
