import functools
import itertools
import json
import os
import re
import shutil
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from tests.conftest import ROOT, git
from tests.figures.searches import RATE, made_up
from tests.lineage.test_recorded import lay
from tests.report.conftest import CLASSES, EVIL, Reader, lay_bare, lay_results, read
from xtcav_ml.cli import main
from xtcav_ml.config.base import read_tree
from xtcav_ml.data import search_file
from xtcav_ml.figures import quality
from xtcav_ml.report import origin, page
from xtcav_ml.system.errors import UserError

SECTIONS = [
    "settings",
    "before",
    "data",
    "training",
    "test",
    "numbers",
    "frames",
    "means",
    "mistakes",
    "saliency",
    "search",
    "resources",
    "origin",
]


@pytest.fixture
def bare(tmp_path, monkeypatch):
    return lay_bare(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A project with all that a report can show, and two commits."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bare = lay_bare(tmp_path_factory.mktemp("whole"), monkeypatch)
        fill(bare)
    return bare


def fill(bare):
    results = bare / "results"
    git(bare, "init", "--quiet")
    git(bare, "add", "results/evaluation.json", "results/predictions.csv")
    git(bare, "commit", "--quiet", "--message", EVIL)
    lay(lay_results(bare, right=0.95, numbers=("bld.L3energy",)))
    for name in ("resources", "tuning"):
        (results / name).mkdir()
    used = {"run_time_s": 12.0, "cpu_time_s": 20.0, "max_memory_mb": 1500.0, "max_threads": 8.0, "max_processes": 1.0}
    used |= {"read_mb": 1.0, "written_mb": 2.0}
    (results / "resources/train.json").write_text(json.dumps(used))
    (results / "resources/evaluate.json").write_text(json.dumps({**used, "max_gpu0_memory_mb": 777.0}))
    found = made_up()
    trials = [replace(trial, params={**trial.params, RATE: 0.0123456}, why=EVIL) for trial in found.trials]
    search_file.write(
        results / "tuning/search.json", replace(found, study=EVIL, trials=trials, summary={"Best": "0.875"})
    )
    (results / "resources/train.png").write_bytes((results / "plots/frames.png").read_bytes())


@pytest.fixture(scope="module")
def text(whole):
    """The page on it, drawn once."""
    return write(whole)


def write(folder):
    run = {"run_id": "f" * 32, "experiment_id": "1", "store": EVIL}
    page.write_page(folder, folder / "results/report.html", run)
    return (folder / "results/report.html").read_text(encoding="utf-8")


def test_all_that_there_is_has_its_section(text):
    shown, words = Reader(text), Reader(text).text
    names = [section["id"] for section in shown.named("section")]
    assert names == SECTIONS
    assert [link["href"] for link in shown.named("a")] == [f"#{name}" for name in names]
    for part in (
        "Best 0.875",
        "0.01235",
        "max gpu0 memory mb",
        "777",
        "f" * 32,
        "make ui",
        "the tag lineage.key",
        "code of each stage",
        "train.epochs",
        "edited since",
    ):
        assert part in words, part
    assert len(shown.named("img")) == 5


def test_hashes_and_parameters_are_folded_and_what_names_the_results_is_not(text):
    _, _, origin = text.partition('id="origin"')
    folded = "".join(re.findall(r"(?s)<details>.*?</details>", origin))
    open_text = re.sub(r"(?s)<details>.*?</details>", "", origin)
    for part in ("lineage.key", "train.epochs", "data/prepared/train.h5"):
        assert part in folded
        assert part not in open_text
    assert "f" * 32 in open_text  # the run
    assert f"MLflow run <code>{'f' * 8}</code>" in text.partition("</header>")[0]
    assert "?workflowType=machine_learning" in open_text
    assert "<details open" not in text


def test_parameters_that_differ_from_the_defaults_come_first(whole, tmp_path, monkeypatch):
    shown = read(whole, "settings")
    assert "train.seed 1 –" in shown.text  # a default, and not in this lock
    usual = tmp_path / "defaults.yaml"
    usual.write_text((whole / "params.yaml").read_text().replace("epochs: 3", "epochs: 24") + "tune: {trials: 3}\n")
    monkeypatch.setattr(origin, "DEFAULTS", usual)
    shown = read(whole, "settings")
    assert shown.words[-3:] == ["train.epochs", "24", "3"]
    assert len(shown.named("tr")) == 2
    usual.write_text((whole / "params.yaml").read_text())
    assert "All 5 parameters have their defaults." in read(whole, "settings").text
    assert not read(lay_results(tmp_path / "bare"), "settings").named("section")


def test_the_defaults_are_params_yaml_as_it_is_shipped():
    """If this fails: copy params.yaml to config/defaults.yaml, once its new values are what everybody is to have."""
    assert read_tree(origin.DEFAULTS) == read_tree(ROOT / "params.yaml")


def test_what_users_write_is_text(text):
    assert EVIL not in text
    assert not Reader(text).named("script")
    assert "".join(Reader(text).words).count(EVIL) > 10  # class, bad file, commit, store, best parameter


def test_it_names_nothing_outside_itself(text):
    for attributes in [attributes for _, attributes in Reader(text).tags]:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import|https?://", text)


def test_headings_do_not_skip_a_level_and_every_picture_has_words(text):
    shown = Reader(text)
    levels = [int(tag[1]) for tag, _ in shown.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= before + 1 for before, later in itertools.pairwise(levels))
    assert all(image["alt"] for image in shown.named("img"))
    assert all(len(svg["aria-label"]) > 20 for svg in shown.named("svg"))


def test_no_two_elements_have_one_id(text):
    ids = [attributes["id"] for _, attributes in Reader(text).tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > len(SECTIONS)


def test_the_page_is_whole_and_may_load_nothing(text):
    shown = Reader(text)
    assert text.startswith("<!DOCTYPE html>")
    assert shown.named("html") == [{"lang": "en"}]
    (policy,) = [meta["content"] for meta in shown.named("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_every_colour_of_a_chart_is_one_of_the_style_sheet(text):
    used, defined = set(re.findall(r"var\((--\w+)\)", text)), set(re.findall(r"(--\w+): #", text))
    assert used <= defined
    assert {"--s0", "--s1", "--heat"} <= used
    assert not re.search(r"(fill|stroke): #", text)


def test_a_warning_names_parameters_that_were_edited_since(whole, tmp_path):
    assert "has changed since" not in read(whole).text
    folder = shutil.copytree(whole, tmp_path / "edited")
    edited = folder / "params.yaml"
    edited.write_text(edited.read_text().replace("1e-3", "2e-3"))
    assert "params.yaml has changed since these results were made: train.rate." in read(folder).text


@pytest.mark.parametrize("classes", [CLASSES, ()])
def test_results_alone_are_enough(bare, classes):
    numbers = () if classes else ("pulse.energy",)
    lay_results(bare, classes=classes, numbers=numbers)
    for name in ("history.jsonl", "data.json"):
        (bare / "results" / name).unlink()
    done = CliRunner().invoke(main.application(["report"]), ["report"])
    assert done.exit_code == 0, done.output
    assert "-> results/report.html" in done.output
    text = (bare / "results/report.html").read_text(encoding="utf-8")
    for missing in ("history.jsonl not found", "data.json not found", "results/resources not found", "dvc.lock"):
        assert missing in text
    assert 'id="search"' not in text
    assert ('id="test"' in text) == bool(classes)
    assert ('id="numbers"' in text) == bool(numbers)


@pytest.mark.parametrize("name", ["evaluation.json", "history.jsonl", "resources/train.json", "tuning/search.json"])
def test_a_damaged_file_is_one_line_and_leaves_the_last_page(bare, name):
    out = bare / "results/report.html"
    out.write_text("an earlier page")
    for folder in ("resources", "tuning"):
        (bare / "results" / folder).mkdir()
    (bare / "results" / name).write_text('{"torn')
    with pytest.raises(UserError, match=rf"{name}: (invalid JSON|damaged) \(found .*\)\. Fix: .*`make (repro|tune)`"):
        page.write_page(bare, out)
    assert out.read_text() == "an earlier page"


def test_no_results_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"results/evaluation\.json: missing .* Fix: run `make repro`"):
        page.write_page(tmp_path, tmp_path / "report.html")


def test_text_on_the_colours_of_charts_is_legible():
    style = (resources.files("xtcav_ml.report") / "templates/style.css").read_text()
    colours = re.findall(r"--(\w+): #(\w{6})", style)
    half = len(colours) // 2
    for scheme in (dict(colours[:half]), dict(colours[half:])):  # light, dark
        colour = {name: np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) for name, digits in scheme.items()}
        cell = quality.HEAT_SHARE * colour["heat"] + (1 - quality.HEAT_SHARE) * colour["paper"]
        assert contrast(colour["ink"], cell) >= 4.5
        assert min(contrast(colour["paper"], colour[f"s{i}"]) for i in range(6)) >= 4.5


def contrast(one, other):
    """Ratio of two colours' luminances, as W3C defines it; 4.5 is asked for of text."""
    linear = [np.where(c <= 10.3, c / 3294.6, ((c / 255 + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)


def test_a_page_is_written_again_only_if_something_that_it_shows_has_changed(whole, monkeypatch):
    monkeypatch.chdir(whole)
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write("<svg>"))  # most of the time
    command = functools.partial(CliRunner().invoke, main.application(["report"]), ["report"])
    assert "sections" in command().output
    out = whole / "results/report.html"
    before = out.stat().st_mtime_ns
    assert "nothing to do" in command().output
    assert out.stat().st_mtime_ns == before
    os.utime(whole / "results/evaluation.json")
    assert "nothing to do" in command().output
    (whole / "results/resources/evaluate.json").write_text("{}")
    assert "sections" in command().output
    out.write_text("half a page")
    assert "sections" in command().output
    assert "nothing to do" in command().output
