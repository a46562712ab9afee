"""The tuner's live table: a row a trial, the best so far on top; plain lines where there is no terminal."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rich.live import Live
from rich.table import Table

from xtcav_ml.system.progress import console

LATEST = 20  # trials shown at once


@dataclass(frozen=True)
class Row:
    """A trial in the table."""

    number: int
    state: str  # running, complete, pruned or fail
    score: float | None  # best so far
    epoch: int  # done
    params: Mapping[str, Any]
    note: str = ""


class SearchTable:
    """Shows a search over the parameters `names`, at most `minutes` long, while it runs."""

    def __init__(self, names: Sequence[str], minutes: float) -> None:
        self.names, self.minutes = names, minutes
        self.console, self.started = console(), time.monotonic()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Draw the rows; without a terminal print the last one, which has changed, once its trial has ended."""
        last = rows[-1]
        if self.live:
            self.live.update(self._drawn(rows), refresh=True)
        elif last.state != "running":
            values = " ".join(f"{short(name)}={_text(value)}" for name, value in last.params.items())
            self.console.print(
                f"  {self._minutes():>4.1f} min  trial {last.number:>3} {last.state:<8} {_score(last)}  {values}"
                f"{'  ' + last.note if last.note else ''} | best so far {best_so_far(rows)}",
                soft_wrap=True,
            )

    def _drawn(self, rows: Sequence[Row]) -> Table:
        title = f"best so far: {best_so_far(rows)}; {self._minutes():.1f} of {self.minutes:g} minutes"
        table = Table(title=title, title_justify="left", title_style="bold")
        for heading in ("trial", "state", "score", "epoch", *map(short, self.names)):
            table.add_column(heading, justify="right")
        for row in rows[-LATEST:]:
            values = (_text(row.params.get(name, "")) for name in self.names)
            style = {"running": "bold", "complete": ""}.get(row.state, "dim")
            table.add_row(str(row.number), row.state, _score(row), str(row.epoch), *values, style=style)
        return table

    def _minutes(self) -> float:
        return (time.monotonic() - self.started) / 60


def best_so_far(rows: Sequence[Row]) -> str:
    """Return the best score of the completed trials, and the trial's number."""
    done = [(row.score, -row.number) for row in rows if row.state == "complete" and row.score is not None]
    score, number = max(done, default=(None, 0))
    return "none yet" if score is None else f"{score:.3f} (trial {-number})"


def short(name: str) -> str:
    """Return the last part of a dotted name, after the number of its block, as `0.kernel`."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if len(parts) > 1 and parts[-2].isdigit() else parts[-1]


def _score(row: Row) -> str:
    return "    -" if row.score is None else f"{row.score:.3f}"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
