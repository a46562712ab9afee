"""Numbers as text; the filters of the page's templates."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import NormalDist
from typing import Any

import numpy as np

from xtcav_ml.config.schema import SCHEMA
from xtcav_ml.science.thresholds import SIGNIFICANT


def percent(share: float | None) -> str:
    """Return a share (0 to 1) in percent; a dash where nothing was measured."""
    return "–" if share is None or not np.isfinite(share) else f"{share:.1%}"


def number(value: float | None) -> str:
    """Return a number with three digits; a dash where nothing was measured."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}"


def amount(value: float | None) -> str:
    """Return a number with separated thousands, and one digit after the point where it is small; a dash for None."""
    return "–" if value is None else f"{value:,.{int(0 < value < 100 and value % 1 > 0)}f}"


def compared(z_score: float) -> str:
    """Return what McNemar's `z_score` of the network above another answer shows."""
    if not np.isfinite(z_score) or abs(z_score) < NormalDist().inv_cdf(1 - SIGNIFICANT / 2):
        return "not significantly different"
    return "significantly better" if z_score > 0 else "significantly worse"


def by_blocks(metrics: Mapping[str, Any]) -> str:
    """Return how blocks of time enter the interval of the accuracy; empty for results of before there were any."""
    if "blocks" not in metrics:
        return ""
    if metrics["accuracy_interval"] == "blocks":
        return f", by {metrics['blocks']} blocks of time, since neighbours are alike"
    low, high = percent(metrics["accuracy_by_blocks_low"]), percent(metrics["accuracy_by_blocks_high"])
    return f", independent of one another; by {metrics['blocks']} blocks of time {low} to {high}"


def ranges(numbers: Sequence[int]) -> str:
    """Return numbers, those that follow one another as a range."""
    runs = [[value for _, value in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def meaning(name: str) -> str:
    """Return what a dataset's number is, with its unit, or that it is in that of the raw files."""
    return SCHEMA[name].meaning.partition(";")[0] if name in SCHEMA else "in the raw files' unit"
