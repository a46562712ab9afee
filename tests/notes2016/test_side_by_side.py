"""The table of the notes' experiments."""

import shutil

from tests.conftest import ROOT
from xtcav_ml.notes2016 import side_by_side


def test_the_committed_table_is_that_of_the_committed_results(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns(".dvc", "data"))
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    side_by_side.COMPARISON.unlink()
    side_by_side.write_comparison()
    assert side_by_side.COMPARISON.read_text() == (ROOT / side_by_side.COMPARISON).read_text()
