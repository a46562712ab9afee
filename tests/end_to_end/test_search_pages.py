"""Optuna's dashboard as `make dashboard` opens it, and the page of a search, in a real headless Chromium."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning

from tests.conftest import ROOT
from tests.end_to_end.chromium import needs_chromium
from tests.end_to_end.conftest import clean_environment
from tests.figures.searches import RATE, TOO_LARGE, made_up
from tests.servers import end, free_port
from xtcav_ml.report import search
from xtcav_ml.tuning import samplers, studies

pytestmark = needs_chromium
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "infeasible": "PRUNED", "failed": "FAIL"}


@pytest.fixture
def screen() -> dict[str, int]:
    return {"width": 1400, "height": 1000}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, params: Any) -> Iterator[str]:
    """`xtcav dashboard` in a project with a search, on a free port; ended afterwards."""
    folder, port = tmp_path_factory.mktemp("searched"), free_port()
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_text((ROOT / name).read_text())
    path = folder / "results/tuning/study.db"
    path.parent.mkdir(parents=True)
    studies.open_study(params.tune, {"an earlier": "search"}, path)
    lay_study(path, params.tune)
    command = [Path(sys.executable).parent / "xtcav", "dashboard", "--port", str(port)]
    log = folder / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=clean_environment(), stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/dashboard/", log)
        yield re.search(r"http://127\.0\.0\.1:\d+/dashboard/studies/2", log.read_text())[0]
    finally:
        end(server)


def lay_study(path: Path, tune: Any) -> None:
    """Write the trials of a made-up search into a study as the tuner keeps it."""
    study = studies.open_study(tune, {}, path)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names([made_up().scored_by])
    laws = {name: samplers.distribution(tune.space[name]) for name in tune.space}
    for trial in made_up().trials:
        state = optuna.trial.TrialState[STATES[trial.state]]
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=trial.score,
                params=trial.params,
                distributions={name: laws[name] for name in trial.params},
                intermediate_values={int(epoch): score for epoch, score in trial.curve},
                user_attrs={"note": trial.why},
            )
        )


def wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"no answer from {url} in 180 s:\n{log.read_text()}")


def test_the_address_that_is_printed_opens_the_search_with_its_trials_and_plots(address, page):
    page.goto(address)
    page.get_by_text(re.compile(r"peaks-[0-9a-f]{8}")).first.wait_for()
    page.locator(".js-plotly-plot").first.get_by_text(made_up().scored_by).first.wait_for()
    page.get_by_text("Hyperparameter Importance").first.wait_for()
    plots = page.locator(".js-plotly-plot")
    assert plots.first.locator(".point").count() > 20
    page.goto(f"{address}/analytics")
    page.get_by_text("Contour", exact=True).first.wait_for()
    page.locator(".js-plotly-plot").get_by_text("train.model.blocks.0.kernel").first.wait_for()
    page.goto(f"{address}/trials?numbers=9")
    page.get_by_text(TOO_LARGE).first.wait_for()


@pytest.fixture
def opened(page: Any, tmp_path: Path) -> Any:
    search.write_page(made_up(), tmp_path / "search.html")
    page.goto((tmp_path / "search.html").as_uri())
    return page


def opacity(page: Any, number: int) -> float:
    return float(page.locator(f"svg .t{number}").first.evaluate("mark => getComputedStyle(mark).opacity"))


def test_a_trial_under_the_pointer_stands_out_in_all_pictures(opened):
    assert opacity(opened, 5) == opacity(opened, 2) == 1
    opened.locator("svg .t5 use").first.hover()
    opened.wait_for_function("() => getComputedStyle(document.querySelector('svg .t2')).opacity < 0.2")
    assert opacity(opened, 5) == 1
    said = opened.locator("svg .t5 title").first.text_content()
    assert f"learning_rate {made_up().trials[5].params[RATE]:.4g}" in said
    opened.get_by_text("All trials", exact=True).click()
    opened.locator("tr.t2").hover()
    opened.wait_for_function("() => getComputedStyle(document.querySelector('svg .t5')).opacity < 0.2")


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    boxes = [picture.bounding_box() for picture in opened.locator("svg.chart").all()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)


def test_it_prints_in_light_colours_on_two_pages(opened, tmp_path):
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    opened.pdf(path=tmp_path / "search.pdf", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "search.pdf").read_bytes())) <= 2
