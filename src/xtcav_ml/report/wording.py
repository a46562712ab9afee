"""Numbers in words."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share (0 to 1) in percent; a dash where nothing was measured."""
    return "–" if share is None or not np.isfinite(share) else f"{share:.{digits}%}"


def number(value: float | None) -> str:
    """Return a number with three digits; a dash where nothing was measured."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g}"


def ranges(epochs: Sequence[int]) -> str:
    """Return numbers, those that follow one another as a range."""
    runs = [[epoch for _, epoch in run] for _, run in groupby(enumerate(epochs), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
