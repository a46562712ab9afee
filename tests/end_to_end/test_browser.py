"""The MLflow UI on the project's store, and the report, in a real headless Chromium: what a person sees."""

import io
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.chromium import needs_chromium
from tests.end_to_end.conftest import Project, clean_environment
from tests.servers import end

pytestmark = needs_chromium
SCREEN = {"width": 1440, "height": 900}
"""Of a notebook."""


class Address(str):
    """Where `xtcav ui` serves MLflow, and the link that it prints."""

    def __new__(cls, address: str, printed: str) -> "Address":
        made = super().__new__(cls, address)
        made.printed = printed
        return made


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two runs with different learning rates, the first committed; of small frames: what is looked at are the pages."""
    project = Project.finished(tmp_path_factory.mktemp("two_runs"))
    project.set(**{"train.optimizer.learning_rate": 0.002})
    project.run("dvc", "repro")
    return project


@pytest.fixture(scope="module")
def address(two_runs: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """`xtcav ui` on a free port, ended with all its workers afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("ui") / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            [Path(sys.executable).parent / "xtcav", "ui", "--port", str(port)],
            cwd=two_runs.folder,
            env=clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", log)
        printed = re.search(rf"http://127\.0\.0\.1:{port}/\S+", log.read_text())
        assert printed, "xtcav ui prints no address"
        yield Address(f"http://127.0.0.1:{port}", printed[0])
    finally:
        end(server)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"no answer from {url} in 180 s:\n{log.read_text()}")


def runs_of(project: Project) -> list[Any]:
    """The first run with each of the two learning rates."""
    runs = {run.data.params["train.optimizer.learning_rate"]: run for run in project.runs("tags.stage = 'train'")[::-1]}
    return [runs["0.05"], runs["0.002"]]


@pytest.fixture(scope="module")
def three_runs(two_runs: Project) -> list[Any]:
    """Those of `runs_of`, and one that was not trained."""
    client, runs = two_runs.client(), runs_of(two_runs)
    made = client.create_run(runs[0].info.experiment_id, tags={"mlflow.runName": "a third", "stage": "of this test"})
    client.log_param(made.info.run_id, "train.optimizer.learning_rate", "0.03")
    client.log_metric(made.info.run_id, "accuracy", 0.125)
    client.set_terminated(made.info.run_id)
    return [*runs, client.get_run(made.info.run_id)]


def test_the_table_lists_all_runs_with_our_columns_and_the_versions_of_their_models(address, page, three_runs):
    page.goto(f"{address}/#/experiments/{three_runs[0].info.experiment_id}/runs")
    for run in three_runs:
        page.get_by_text(run.info.run_name, exact=True).first.wait_for()
    page.locator(".ag-row", has_text="xtcav").get_by_text("v1", exact=True).wait_for()
    page.get_by_role("button", name="Columns").click()
    for name in ("accuracy", "train.optimizer.learning_rate"):
        page.get_by_placeholder("Search columns").fill(name)
        page.get_by_role("dialog").get_by_text(name, exact=True).first.click()
    page.keyboard.press("Escape")
    for run in three_runs:
        rate, accuracy = run.data.params["train.optimizer.learning_rate"], run.data.metrics["accuracy"]
        row = page.locator(".ag-row", has=page.get_by_text(rate, exact=True))
        row.get_by_text(str(accuracy).removesuffix(".0"), exact=True).first.wait_for()  # as JavaScript prints it


def test_make_ui_opens_accurate_trainings_and_two_clicks_lead_to_the_confusion_matrix(address, page, three_runs):
    """Accuracy is on the first screen of the list and, a click later, with matrix and picture on that of a run."""
    page.set_viewport_size(SCREEN)
    page.goto(address.printed)
    best, *_ = trained = sorted(three_runs[:2], key=lambda run: -run.data.metrics["accuracy"])
    name = page.locator(".ag-row").get_by_text(best.info.run_name, exact=True).first
    name.wait_for()
    metrics = ["accuracy", "accuracy_low", "accuracy_high", "val_loss"]
    parameters = ["optimizer.learning_rate", "optimizer.momentum", "model.blocks.kernel", "model.blocks.pool"]
    columns = [*metrics, *(f"train.{name}" for name in parameters), "Version", "data.raw"]
    headings = [page.locator(f".ag-header-cell[col-id$='.`{column}`']") for column in columns]
    assert all(map(on_screen, headings))
    places = [heading.bounding_box()["x"] for heading in headings]
    assert places == sorted(places)
    for column, heading in zip(columns, headings, strict=True):  # the end of a parameter's name is in its column
        text = heading.get_by_text(column, exact=True).bounding_box()
        box = heading.bounding_box()
        assert text["x"] + text["width"] <= box["x"] + box["width"]
    shown = page.locator(".ag-cell[col-id*='`accuracy`']").first
    assert on_screen(shown)
    assert float(shown.inner_text()) == pytest.approx(best.data.metrics["accuracy"])
    assert page.locator(".ag-row a[href*='/runs/']").count() == len(trained)  # the third one was not trained

    name.click()
    assert on_screen(page.get_by_text(f"Test accuracy {best.data.metrics['accuracy']:.1%}"))
    assert on_screen(page.get_by_role("columnheader", name="label \\ prediction"))
    assert on_screen(page.get_by_role("cell", name="t0 t1 t2", exact=True).first)
    assert on_screen(page.get_by_text(f"xtcav reproduce {best.info.run_id}"))
    picture = page.locator("img[src*='confusion_matrix.png']")
    assert on_screen(picture)
    assert picture.evaluate("image => image.naturalWidth") > 50

    (heading,) = page.get_by_text(re.compile(r"^Parameters \(\d+\)$")).all_inner_texts()
    assert 20 < int(re.sub(r"\D", "", heading)) <= 70
    assert 5 < page.locator("[data-component-type='tag'][role='status'][title]").count() <= 12


def on_screen(what: Any) -> bool:
    """Whether a person sees it without scrolling, once it is there."""
    what.wait_for()
    box = what.bounding_box()
    return box["x"] + box["width"] <= SCREEN["width"] and box["y"] + box["height"] <= SCREEN["height"]


def test_no_printed_link_leads_to_pages_of_language_models(address, page, two_runs):
    said = two_runs.run("xtcav", "report", "--summary").stdout
    links = [address.printed, *re.findall(r"#/[^\s`)]+", said)]
    assert len(links) >= 2
    for link in links:
        assert "workflowType=machine_learning" in link  # for MLflow's page as another server has it
        page.goto("about:blank")
        page.goto(f"{address}/#{link.partition('#')[2]}")
        page.get_by_text("Model registry", exact=True).wait_for()
        for foreign in ("Prompts", "AI Gateway", "Judges", "Sessions"):
            assert page.get_by_text(foreign, exact=True).count() == 0
        assert not page.locator("[data-assistant-ui]").first.is_visible()


def test_the_compare_page_shows_learning_rates_and_accuracies(address, page, three_runs):
    runs = three_runs
    ids = ",".join(f'"{run.info.run_id}"' for run in runs)
    page.goto(f'{address}/#/compare-runs?runs=[{ids}]&experiments=["{runs[0].info.experiment_id}"]')
    page.get_by_text("Comparing 3 Runs").wait_for()
    page.get_by_role("switch", name="Parameters - Show diff only", checked=True).wait_for()
    row = page.locator("tr", has=page.get_by_role("rowheader", name="train.optimizer.learning_rate", exact=True))
    assert row.locator("td").all_inner_texts() == ["0.05", "0.002", "0.03"]

    shown = row_of_metrics(page, "accuracy")
    for run, text in zip(runs, shown, strict=True):
        assert float(text) == pytest.approx(run.data.metrics["accuracy"], abs=0.0006)


def test_the_plot_of_compared_runs_begins_with_their_accuracy(address, page, two_runs):
    one, other = runs_of(two_runs)
    ids = f'["{one.info.run_id}","{other.info.run_id}"]'
    page.goto(f'{address}/#/compare-runs?runs={ids}&experiments=["{one.info.experiment_id}"]')
    plot = page.get_by_role("tabpanel", name="Parallel Coordinates Plot")
    plot.get_by_text("accuracy", exact=True).first.wait_for()
    assert plot.get_by_text(re.compile("^(train_accuracy|learning_rate|loss)$")).count() == 0


def row_of_metrics(page: Any, name: str) -> list[str]:
    """The values in the row of a metric's name, from left to right, where a person sees them without scrolling."""
    link = page.locator(f'a[title="Plot chart"]:text-is("{name}")')
    link.wait_for()
    top = link.bounding_box()["y"]
    beside = []
    for cell in page.locator("div[style*='position: absolute'][style*='height: 45px']").all():
        box, text = cell.bounding_box(), cell.inner_text().strip()
        if box and abs(box["y"] - top) < 15 and re.fullmatch(r"[0-9.]+(e-?[0-9]+)?", text):
            beside.append((box["x"], text))
    return [text for _, text in sorted(beside)]


def test_a_picture_of_the_run_is_shown(address, page, two_runs):
    run = runs_of(two_runs)[0]
    where = f"{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/plots/confusion_matrix.png"
    page.goto(f"{address}/#/experiments/{where}")
    page.get_by_text("plots/confusion_matrix.png").first.wait_for()
    page.wait_for_function(
        "() => [...document.images].some(image => image.naturalWidth > 50 && image.complete"
        " && /artifact|blob/.test(image.src))"
    )


def test_trials_are_nested_under_their_study(address, page, two_runs):
    client, experiment = two_runs.client(), runs_of(two_runs)[0].info.experiment_id

    def begin(name: str, **tags: str) -> str:  # as the tuner does: test_tune holds that its trials name their study so
        run = client.create_run(experiment, tags={"mlflow.runName": name, **tags})
        client.set_terminated(run.info.run_id)
        return run.info.run_id

    study = begin("a study")
    trials = [begin(f"trial-{number}", **{"mlflow.parentRunId": study}) for number in range(2)]
    page.goto(f"{address}/#/experiments/{experiment}/runs")
    name = page.get_by_text("a study", exact=True)
    name.wait_for()
    assert page.get_by_text("trial-0", exact=True).count() == 0
    page.locator(".ag-cell", has=name).get_by_role("button").first.click()
    page.get_by_text("trial-0", exact=True).wait_for()
    rows = {link.get_attribute("href"): link.bounding_box() for link in page.locator(".ag-row a[href*='/runs/']").all()}
    places = {href.rpartition("/")[2]: box for href, box in rows.items()}
    order = sorted(places, key=lambda run_id: places[run_id]["y"])
    assert order[order.index(study) :][:3] == [study, *trials[::-1]]
    assert all(places[trial]["x"] > places[study]["x"] for trial in trials)


def test_the_page_of_a_model_version_shows_its_alias_and_where_it_comes_from(address, page, two_runs):
    version = two_runs.client().get_model_version_by_alias("xtcav", "candidate")
    page.goto(f"{address}/#/models/xtcav/versions/{version.version}")
    page.get_by_title("candidate", exact=True).wait_for()
    run = two_runs.client().get_run(version.run_id)
    page.get_by_role("link", name=run.info.run_name).first.wait_for()
    page.get_by_text(run.data.tags["lineage.key"], exact=True).wait_for()
    page.get_by_text(f"xtcav reproduce {run.info.run_id}").wait_for()


def test_the_page_of_dvc_plots_is_drawn_without_a_network(two_runs, page):
    two_runs.run("dvc", "plots", "diff", "HEAD")
    page.context.unroute_all()
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto((two_runs.folder / "dvc_plots/index.html").as_uri())
    titles = page.locator("h2, body > div > p").all_inner_texts()
    wanted = [
        "accuracy by epoch",
        "cross-entropy by epoch",
        "validation loss by epoch",
        "confusion matrix of the test shots",
    ]
    assert titles[:4] == wanted
    assert "learning curves" in titles
    assert page.locator("svg").first.locator("polyline").count() == 4  # training and validation, then and now
    assert page.locator("figure table").count() == 2
    assert all(url.startswith("file:") for url in asked)


SECTIONS = ["settings", "before", "data", "training", "test", "frames", "means", "mistakes", "saliency"]
SECTIONS += ["resources", "origin"]


@pytest.fixture(scope="module")
def report(two_runs: Project) -> Path:
    """The report on the second of two runs, of which the first is committed with other metrics."""
    two_runs.run("xtcav", "report")
    return two_runs.folder / "results/report.html"


@pytest.fixture(params=["light", "dark"])
def opened(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The report in a browser, in light and in dark mode: nothing but the file is asked for, and nothing is complained of."""
    asked: list[str] = []
    said: list[str] = []
    with browser.new_context(color_scheme=request.param, viewport={"width": 1200, "height": 900}) as context:
        page = context.new_page()
        page.on("request", lambda sent: asked.append(sent.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(report.as_uri(), wait_until="networkidle")
        page.scheme = request.param
        yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


CONTRAST = """() => {
    const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = colour => channels(colour).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const inks = [...document.querySelectorAll("p, th, td, dd, a, figcaption, .chart text:not(.on *)")].map(one =>
        getComputedStyle(one)[one instanceof SVGElement ? "fill" : "color"]);
    const ratio = ink => (Math.max(light(ink), paper) + 0.05) / (Math.min(light(ink), paper) + 0.05);
    return {paper, least: Math.min(...new Set(inks).values().map(ratio))};
}"""
"""Luminance of the paper, and the least contrast of any text with it (W3C's definitions; 4.5 is asked for)."""


def test_the_report_has_all_its_sections_and_pictures_in_both_modes(opened):
    sections = opened.locator("main > section")
    assert sections.evaluate_all("all => all.map(one => one.id)") == SECTIONS
    for name in SECTIONS:
        opened.locator(f"nav a[href='#{name}']").click()
        assert abs(opened.locator(f"#{name}").bounding_box()["y"]) < 900
    widths = opened.locator("img").evaluate_all("all => all.map(one => one.complete && one.naturalWidth)")
    assert len(widths) >= 3
    assert min(widths) > 50  # those of tests are small
    assert opened.locator("svg.chart").count() >= 6
    found = opened.evaluate(CONTRAST)
    assert (found["paper"] < 0.05) == (opened.scheme == "dark")
    assert found["least"] >= 4.5


def test_pictures_of_frames_are_as_light_as_the_page(opened):
    for name in ("frames", "saliency"):
        with Image.open(io.BytesIO(opened.locator(f"#{name} img").screenshot())) as shown:
            levels = np.asarray(shown.convert("L"), float) / 255
        assert (np.median(levels) < 0.3) == (opened.scheme == "dark")
        assert (levels > 0.7).any()  # axes and beam, or the paper
        assert (levels < 0.3).any()


def test_a_narrow_window_scrolls_down_only(opened):
    opened.set_viewport_size({"width": 400, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == 400


def test_print_is_light_whole_and_of_few_pages(opened, tmp_path):
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 700, "height": 1000})  # as wide as A4 less its margins
    found = opened.evaluate(CONTRAST)
    assert found["paper"] == 1
    assert found["least"] >= 4.5
    assert not opened.locator("nav").is_visible()
    beyond = (
        "all => all.filter(one => one.getBoundingClientRect().right > 700.5).map(one => one.outerHTML.slice(0, 99))"
    )
    assert opened.locator("td, th, img, svg.chart").evaluate_all(beyond) == []
    opened.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes()))
    assert pages <= 8
    assert not opened.get_by_text("Hashes of data").is_visible()
