"""report: all about the present results on one page that needs no network, results/report.html."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from xtcav_ml.config.paths import PLOTS, RESULTS
from xtcav_ml.data import group_files
from xtcav_ml.lineage import git
from xtcav_ml.report import current, data, earlier, frames, origin, quality, search, training
from xtcav_ml.report.current import Run
from xtcav_ml.report.markup import environment
from xtcav_ml.report.results import Results, load_results
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import DAMAGES, reading
from xtcav_ml.system.progress import console

SECTIONS: dict[str, tuple[str, Callable[[Results], dict[str, Any] | None]]] = {
    "settings": ("Settings", origin.settings_section),
    "before": ("Compared with the previous commit", earlier.comparison_section),
    "data": ("Data", data.data_section),
    "training": ("Training", training.training_section),
    "test": ("Test", quality.classification_section),
    "numbers": ("Numbers", quality.regression_section),
    "frames": ("Sample frames", lambda results: frames.picture(results, PLOTS / "frames.png")),
    "means": ("Mean frames", lambda results: frames.picture(results, PLOTS / "mean_frames.png")),
    "mistakes": ("Worst mistakes", frames.mistakes),
    "saliency": ("Where the network looks", lambda results: frames.picture(results, PLOTS / "saliency.png")),
    "search": ("Search", search.search_section),
    "resources": ("Resources", origin.resources_section),
    "origin": ("Lineage", origin.origin_section),
}
"""Title of each section, and the function that gathers its content, None if it is left out; its text is in its template."""

MEND = "run `dvc repro --force evaluate`, then the command again"


def write_page(root: Path, out: Path, run: Run = None) -> None:
    """Write the page on the results of the project in folder `root`, and of their `run`, to `out`.

    Missing content is left out, or replaced by the command that brings it. Raises UserError if nothing was evaluated yet.
    """
    page = render(load_results(root, run), current.made_from(root, out, run))
    with atomic.replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    console().print(f"report: {page.count('<section')} sections, {len(page.encode()) / 1e6:.1f} MB -> {out}")


def render(results: Results, made_from: str = "") -> str:
    """Return the page, with `made_from` in its head. All that is put into a template is text, and escaped."""
    with reading(results.root / RESULTS, "files of one `make repro`", MEND, (*DAMAGES, jinja2.TemplateError)):
        seeds = results.seeds
        sections = {name: (title, gather(results)) for name, (title, gather) in SECTIONS.items()}
        return (
            environment()
            .get_template("page.html")
            .render(
                sections={name: section for name, section in sections.items() if section[1] is not None},
                metrics=results.metrics,
                seeds=seeds,
                expected_of_seeds=group_files.expected_accuracy(seeds) if seeds else None,
                run=results.run,
                outdated=origin.outdated(results),
                state=git.state(results.root),
                made_from=made_from,
                made=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            )
        )
