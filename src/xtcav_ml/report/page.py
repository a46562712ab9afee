"""report: everything about the present results on one page that needs no network: results/report.html."""

import datetime
from collections.abc import Callable
from pathlib import Path

import jinja2

from xtcav_ml.lineage import git
from xtcav_ml.report import data, earlier, format, frames, origin, quality, results, training
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console

SECTIONS: dict[str, tuple[str, Callable[[results.Results], object | None]]] = {
    "before": ("Compared with the previous commit", earlier.comparison),
    "data": ("Data", data.data),
    "training": ("Training", training.training),
    "test": ("Test", quality.classification),
    "numbers": ("Numbers", quality.regression),
    "frames": ("Sample frames", frames.samples),
    "mistakes": ("Worst mistakes", frames.mistakes),
    "saliency": ("Where the network looks", frames.saliency),
    "search": ("Search", origin.search),
    "resources": ("Resources", origin.resources),
    "origin": ("Lineage", origin.origin),
}
"""Title of each section and what gathers its content, None if it is left out; its words are those of its template."""

FILTERS = (format.percent, format.number, format.amount, format.ranges, format.meaning)


def run(root: Path, out: Path) -> None:
    """Write the page on the results of the project in folder `root` to `out`.

    What is missing is left out, or named with what brings it. Raises UserError if nothing was evaluated yet.
    """
    page = render(results.load(root))
    with atomic.replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    console().print(f"report: {page.count('<section')} sections, {out.stat().st_size / 1e6:.1f} MB -> {out}")


def render(found: results.Results) -> str:
    """Return the page. Whatever is put into a template is text, and escaped: labels are the user's."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    gathered = {name: (title, gather(found)) for name, (title, gather) in SECTIONS.items()}
    return environment.get_template("page.html").render(
        sections={name: (title, content) for name, (title, content) in gathered.items() if content is not None},
        metrics=found.metrics,
        outdated=origin.outdated(found),
        state=git.state(found.root),
        made=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
