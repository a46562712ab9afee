"""What was measured, as rows of a table in Markdown."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import contenders


@dataclass(frozen=True)
class Row:
    """One way to do some work."""

    work: str
    way: str
    seconds: float  # median
    spread: float  # half of the distance of the quartiles, over the median
    ratio: float  # its time over that of the first way, median over the turns
    peak_mb: float | None = None  # of its process
    limit: str = ""  # what bounds it on this machine, and how long that takes
    share: float | None = None  # of the limit that is reached
    tail: float | None = None  # 99th percentile, seconds, of many turns


MANY = 100
"""Turns whose 99th percentile means something."""

HEADINGS = (
    "work",
    "way",
    "time",
    "99th percentile",
    "spread",
    "times the first",
    "peak memory",
    "limit",
    "share of the limit",
)


def rows(
    work: str,
    times: dict[str, list[float]],
    per: float,
    peaks: dict[str, float] | None = None,
    limit: tuple[str, float] | None = None,
) -> list[Row]:
    """Return a row for each way, `per` pieces of work in a turn; `limit` says in which seconds a piece could be done."""
    first, found = next(iter(times)), []
    for way, each in times.items():
        seconds = contenders.median(each) / per
        peak, share = (peaks or {}).get(way), None if limit is None else limit[1] / seconds
        text = "" if limit is None else f"{limit[0]}, {duration(limit[1])}"
        tail = float(np.quantile(each, 0.99)) / per if len(each) >= MANY else None
        ratio = contenders.ratio(times, way, first)
        found.append(Row(work, way, seconds, contenders.spread(each), ratio, peak, text, share, tail))
    return found


def duration(seconds: float) -> str:
    """Return seconds with three digits and the unit that suits."""
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("us", 1e-6))
    return f"{seconds / size:.3g} {unit}"


def markdown(found: Sequence[Row]) -> str:
    """Return a table; columns that are empty in all rows are left out."""
    table = [_cells(row) for row in found]
    for row, (before, after) in zip(table[1:], itertools.pairwise(found), strict=True):
        row[0] = "" if after.work == before.work else row[0]
    kept = [i for i in range(len(HEADINGS)) if any(line[i] for line in table)]
    lines = [[HEADINGS[i] for i in kept], ["---"] * len(kept), *([line[i] for i in kept] for line in table)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> list[str]:
    memory = "" if row.peak_mb is None else f"{row.peak_mb:,.0f} MB"
    share = "" if row.share is None else f"{row.share:.0%}"
    tail = "" if row.tail is None else duration(row.tail)
    return [
        row.work,
        row.way,
        duration(row.seconds),
        tail,
        f"{row.spread:.0%}",
        f"{row.ratio:.2f}",
        memory,
        row.limit,
        share,
    ]
