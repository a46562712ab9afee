"""docs/your-files.md: from a folder of files that another program wrote to predictions, by the commands of that page."""

import json
import re

import h5py
import numpy as np
import pytest

from tests import foreign_files
from tests.conftest import ROOT
from tests.end_to_end.conftest import SMALL_FRAMES, Project
from xtcav_ml.data.prepared import PreparedFile

NETWORK = {key: value for key, value in SMALL_FRAMES.items() if not key.startswith("data.")}
FRAMES = {"data.frame_shape": list(foreign_files.SHAPE)}  # the notes' files are read by this key alone

THROUGH_DVC = ("notes", "nexus")
"""Kinds that all of `dvc repro` is run on. The others take the same stages up to the network, with which they are predicted."""


@pytest.mark.parametrize("kind", foreign_files.KINDS)
def test_files_of_a_program_are_proposed_for_checked_learned_and_predicted(kind, tmp_path):
    project = Project.copy(tmp_path / "project", **NETWORK, **(FRAMES if kind == "notes" else {}))
    folder = foreign_files.write(project.folder / "mine", kind)
    if kind == "notes":
        project.set(**{"data.raw": "mine"})
    else:
        shown = project.run("xtcav", "scan", "mine", "--propose").stdout
        assert f'"preset": "{kind}"' in shown
    shown = project.run("xtcav", "scan").stdout
    assert "mine: 608 shots in 3 files, 600 of them usable" in shown
    if kind in THROUGH_DVC:
        project.run("dvc", "repro", "evaluate")
    else:
        for stage in ("check", "prepare", "train"):
            project.run("xtcav", stage)
    history = (project.folder / "results/history.jsonl").read_text().splitlines()
    assert max(json.loads(row)["val_accuracy"] for row in history) > 0.4
    with PreparedFile(project.folder / "data/prepared/train.h5") as prepared:
        row, number = int(prepared.column("source.row")[0]), int(prepared.column("source.file")[0])
        run = int(re.findall(r"-r(\d+)", prepared.source_files[number])[0])
        table = foreign_files.shots(run, 300)
        assert prepared.labels[0] == table["acq.peaksLabel"][row]
        raised = table["xtcavimg"][row] + 0.25 * (kind == "nexus") - prepared.spec.preprocessing.dark.mean
        np.testing.assert_allclose(prepared.images(np.array([0]))[0], np.log1p(np.maximum(raised, 0)), atol=1e-3)
    project.run("xtcav", "predict", "models/model.keras", "mine", "--out", "out")
    for path in sorted(folder.iterdir()):
        with h5py.File(project.folder / "out" / f"{path.stem}.predictions.h5") as file:
            assert len(file["predicted"]) == (8 if "r0068" in path.name else 300)
            assert np.unique(file["run"]).tolist() == [int(path.stem[-4:])]


def test_the_page_has_the_commands_and_each_preset():
    page = (ROOT / "docs/your-files.md").read_text()
    for kind in foreign_files.KINDS:
        assert f"`{kind}`" in page
    for command in (
        "xtcav scan data/raw/mine --propose",
        "make repro",
        "xtcav predict models/model.keras data/raw/mine",
    ):
        assert command in page
