"""report: everything that the results at hand say, on one page that needs no network: results/report.html."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from xtcav_ml.lineage import git
from xtcav_ml.report import data, earlier, frames, origin, quality, results, training
from xtcav_ml.report.markup import Markup, Section, element, listing, page, paragraph
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console

TITLE = "xtcav-ml: results"
MOST_NAMES = 8
"""Changed parameters that are named."""


def run(root: Path, out: Path) -> None:
    """Write the page on the results of the project in folder `root` to `out`.

    What is missing is left out, or named with what brings it. Raises UserError if nothing was evaluated yet.
    """
    found = results.load(root)
    sections = [
        earlier.comparison(found),
        data.data(found),
        training.training(found),
        quality.classification(found),
        quality.regression(found),
        *frames.sheets(found),
        origin.search(found),
        origin.resources(found),
        origin.origin(found),
    ]
    shown = [section for section in sections if section is not None]
    body = element("main", *_warnings(found), quality.headline(found), *(section.markup() for section in shown))
    with atomic.replacing(out) as temporary:
        temporary.write_text(page(TITLE, _head(found, shown), body), encoding="utf-8")
    console().print(f"report: {len(shown)} sections, {out.stat().st_size / 1e6:.1f} MB -> {out}")


def _head(found: results.Results, shown: Sequence[Section]) -> Markup:
    """Return the title, of which commit and when the page was made, and links to the sections."""
    commit = git.state(found.root)
    edited = ", edited since" if commit["dirty"] == "true" else ""
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    links = listing(element("a", section.title, href=f"#{section.name}") for section in shown)
    told = paragraph(f"Commit {commit['commit'][:10]} of {commit['branch']}{edited}; page made {made}.", class_="made")
    return element("header", element("h1", TITLE), told, element("nav", links, aria_label="Sections"))


def _warnings(found: results.Results) -> list[Markup]:
    """Return what a reader must know before any number."""
    changed = origin.outdated(found)
    if not changed:
        return []
    names = f"{', '.join(changed[:MOST_NAMES])}{', ...' if len(changed) > MOST_NAMES else ''}"
    told = (
        f"params.yaml has changed since these results were made: {names}. `make repro` makes those that belong to it."
    )
    return [paragraph(told, class_="warning")]
