import numpy as np
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, SHAPE, write_prepared_file, write_shots
from tests.report.conftest import read
from xtcav_ml.config.base import load_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.pipeline import prepare as stage
from xtcav_ml.report import data


@pytest.fixture
def prepared(project):
    """Three sets of ten frames of two classes, three of them "yes" in each."""
    folder = project / "data/prepared"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("train", "validation", "test"):
        write_prepared_file(folder / f"{name}.h5", rng.normal(120, 3, (10, 8, 6)).astype(np.int16), np.arange(10) // 7)
    return project


def said(project):
    return read(project, "data").text


def test_files_shots_runs_and_bad_files(project):
    text = said(project)
    assert "150 shots in 2 files" in text
    assert "70 (150)" in text
    assert "<script>alert(1)</script>: damaged" in text


def test_the_mix_of_labels_of_each_set(prepared):
    text = said(prepared)
    assert "Labels (side) of each set" in text
    assert "no 7 (70.0%) 7 (70.0%) 7 (70.0%)" in text
    assert "yes 3 (30.0%)" in text
    (chart,) = read(prepared, "data").named("svg")
    assert "Labels (side)" in chart["aria-label"]


@pytest.fixture
def from_raw(project):
    """Sets that prepare made of 300 shots and a dark run of 8."""
    (project / "raw").mkdir()
    write_shots(project / "raw/dark.h5", run=68, count=8, lasing=0)
    write_shots(project / "raw/a.h5", run=70, count=300)
    tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    tree["data"] |= {"raw": "raw", "frame_shape": list(SHAPE)}
    tree["prepare"] |= {"images": [{"step": "log"}], "dark_run": 68}
    with (project / "params.yaml").open("w") as file:
        YAML().dump(tree, file)
    stage.prepare_files(
        load_section("data", DataParams), load_section("prepare", PrepareParams), project / "data/prepared"
    )
    return project


def test_shots_left_out_are_counted_by_reason_and_adds_up(from_raw):
    _, _, rows = said(from_raw).partition("Shots left out, by reason reason shots ")
    assert rows.startswith("dark run 8 lasing is not 1 0 no label 0 ")
    counts = [int(word) for word in rows.replace("lasing is not 1", "").split() if word.isdigit()]
    assert sum(counts) == 308
    sets, _ = data._sets(from_raw / "data/prepared")
    assert counts[-1] == sum(sum(counts.values()) for counts in sets.values())


def test_shots_left_out_are_not_counted_once_the_raw_files_are_others(from_raw):
    write_shots(from_raw / "raw/b.h5", run=71, count=300)
    assert "left out are listed where the raw files are" in said(from_raw)


def test_what_is_not_here_is_named_with_what_brings_it(project):
    (project / "results/data.json").unlink()
    text = said(project)
    for missing in ("results/data.json not found", "needs data/prepared", "left out are listed where"):
        assert missing in text
