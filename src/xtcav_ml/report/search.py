"""The search: its summary, the trial to promote, and pictures in which a trial under the pointer stands out everywhere."""

import html
import re
from pathlib import Path
from typing import Any

from xtcav_ml.config.paths import SEARCH
from xtcav_ml.data import search_file
from xtcav_ml.figures.drawing import svg
from xtcav_ml.figures.search import charts
from xtcav_ml.report.markup import environment
from xtcav_ml.report.results import Results
from xtcav_ml.science.search import Search, Trial, shortened
from xtcav_ml.system import atomic

MOST_LINKED = 300
"""Trials of a search of which each stands out in all pictures: a rule of style each."""

WIDE = ("pareto", "slices", "parallel")  # charts that need the width of the page


def search_section(results: Results) -> dict[str, Any] | None:
    """Return what the page shows of `make tune`; None if it has not run. Raises UserError if its file is damaged."""
    path = results.root / SEARCH
    return content(search_file.read(path)) if path.exists() else None


def write_page(found: Search, out: Path) -> None:
    """Write a page on a search alone to `out`. The same search is the same bytes."""
    text = environment().get_template("search_page.html").render(title=f"Search {found.study}", section=content(found))
    with atomic.replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def content(found: Search) -> dict[str, Any]:
    """Return the sentences, tables and pictures (SVG by title) of a search."""
    words = {trial.number: in_words(trial) for trial in found.trials}
    drawn = {
        name: (title, _named(svg(figure, f"{title}; {found.study}"), words))
        for name, (title, figure) in charts(found).items()
    }
    return {
        "found": found,
        "names": shortened(list(found.space)),
        "parameters": _parameters(found),
        "charts": [chart for name, chart in drawn.items() if name not in WIDE],
        "wide": [chart for name, chart in drawn.items() if name in WIDE],
        "linked": [trial.number for trial in found.trials][:MOST_LINKED],
        "trials": [_row(found, trial) for trial in found.trials],
    }


def in_words(trial: Trial) -> str:
    """Return what a pointer on a trial shows: number, state, score, parameters, and why it ended."""
    score = "" if trial.score is None else f", {trial.score:.4g} after epoch {trial.epochs}"
    names = shortened(list(trial.params))
    values = [f"{names[name]} {text(value)}" for name, value in trial.params.items()]
    return "\n".join([f"trial {trial.number}: {trial.state}{score}", *values, *([trial.why] if trial.why else [])])


def text(value: Any) -> str:
    """Return a parameter's value as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)


def _named(drawing: str, words: dict[int, str]) -> str:
    """Return an SVG in which each mark of a trial has a class, which several may have, and the words on it."""

    def marked(found: re.Match[str]) -> str:
        number = int(found[1])
        return f'<g class="trial t{number}"><title>{html.escape(words[number])}</title>'

    return re.sub(r'<g id="t(\d+)">', marked, drawing)


def _parameters(found: Search) -> list[list[str]]:
    """Return each parameter of the space with its value in params.yaml and in the best trial."""
    best = next((trial.params for trial in found.trials if trial.number == found.best), {})
    return [
        [name, *(text(values[name]) if name in values else "" for values in (found.baseline, best))]
        for name in found.space
    ]


def _row(found: Search, trial: Trial) -> dict[str, Any]:
    score = "" if trial.score is None else f"{trial.score:.4g}"
    costs = [text(trial.values[i]) if i < len(trial.values) else "" for i in range(1, len(found.objectives))]
    values = [text(trial.params[name]) if name in trial.params else "" for name in found.space]
    return {"number": trial.number, "cells": [trial.state, str(trial.epochs), score, *costs, *values], "why": trial.why}
