"""What runs again after a change of code or of a locked library, through `dvc repro` for real."""

import re

import pytest

from tests.end_to_end.conftest import Project

MEAN = r"float\(values.mean\(\)\) if .* else None"


def repro(project):
    """Run `dvc repro` with the project's own sources; returns the stages that ran."""
    project.output = project.run("dvc", "repro", PYTHONPATH=str(project.folder / "src")).stdout
    return re.findall(r"Running stage '(.*)'", project.output)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project.finished(tmp_path_factory.mktemp("code"))


def edit(project, name, old, new):
    """Replace the one place that matches the regular expression `old`; no test needs another one's edits."""
    path = project.folder / name
    text, places = re.subn(old, new, path.read_text())
    assert places == 1
    path.write_text(text)


def test_nothing_runs_again_where_nothing_changed(project):
    assert repro(project) == ["code", "record"]


def test_a_comment_and_a_docstring_in_shared_modules_run_nothing(project):
    edit(project, "src/xtcav_ml/config/base.py", '"""Reading params.yaml', '# a comment\n"""How params.yaml is read')
    edit(project, "src/xtcav_ml/system/atomic.py", '"""Write `value` as JSON', '"""Write a value as JSON')
    assert repro(project) == ["code", "record"]


def test_a_function_of_evaluate_runs_evaluate_and_git_names_the_module(project):
    project.run("git", "add", "code")
    edit(project, "src/xtcav_ml/pipeline/evaluate.py", MEAN, "float(values.mean()) if len(values) > 0 else None")
    assert repro(project) == ["code", "evaluate", "record"]
    lines = project.run("git", "diff", "--unified=0", "code/evaluate.json").stdout.splitlines()
    assert [line.split('"')[1] for line in lines if line.startswith("+ ")] == ["fingerprint", "pipeline.evaluate"]


def test_code_that_leaves_all_bytes_as_they_were_takes_the_outputs_over(project):
    project.run("git", "commit", "--allow-empty", "-qam", "as it ran")
    edit(project, "src/xtcav_ml/pipeline/evaluate.py", MEAN, "float(values.mean()) if 0 < len(values) else None")
    said = project.run("xtcav", "same", PYTHONPATH=str(project.folder / "src")).stdout
    assert "taken over for evaluate;" in said
    assert repro(project) == ["code", "record"]


def test_another_locked_tensorflow_runs_train_and_evaluate(project):
    path = project.folder / "requirements.txt"
    path.write_text(re.sub("^tensorflow==.*$", r"tensorflow==2.99.0 \\", path.read_text(), flags=re.MULTILINE))
    ran = repro(project)
    assert ran[:2] == ["code", "train"]
    assert ran[-1] == "record"
    assert set(ran) <= {"code", "train", "evaluate", "record"}
