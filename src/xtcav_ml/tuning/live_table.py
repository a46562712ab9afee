"""The tuner's live table: a row a trial, with those that run and the best one always among them; plain lines elsewhere.

Optuna's progress bar counts trials; a table of them exists only in its dashboard, a server of its own.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table

from xtcav_ml.system.progress import WIDEST, clock, drawing, titled_table
from xtcav_ml.tuning import objectives
from xtcav_ml.tuning.rungs import leader, searched, waits
from xtcav_ml.tuning.states import counted, state, why

LATEST = 20  # trials shown at once
LINES_BESIDE = 12  # of the terminal's, that rows leave to headings, title and what stands below
STYLES = {TrialState.RUNNING: "bold", TrialState.COMPLETE: ""}
WHY = "reason"
NOBODY: Mapping[int, str] = {}


class Show(Protocol):
    """Shows the trials, of which that with this number has changed; these workers train those in `busy` at the moment."""

    def __call__(self, trials: Sequence[FrozenTrial], number: int, busy: Mapping[int, str] = NOBODY) -> None:
        """Show them."""


@contextlib.contextmanager
def search_table(names: Sequence[str], minutes: float, most: int, stops: Sequence[int] = ()) -> Iterator[Show]:
    """Yield a function that shows the trials of a search over the parameters `names`, `most` trials and `minutes` long.

    Without a terminal it prints the one that has changed, once it has ended or waits at one of the `stops` (epochs).
    """
    started, ended_before = time.monotonic(), -1

    def times(trials: Sequence[FrozenTrial]) -> str:
        nonlocal ended_before
        seconds, ended = (
            time.monotonic() - started,
            sum(trial.state.is_finished() or waits(trial, stops) for trial in searched(trials)),
        )
        ended_before = ended if ended_before < 0 else ended_before
        left, repeated = max(60 * minutes - seconds, 0), len(trials) - len(searched(trials))
        if ended > ended_before and not repeated:
            left = min(left, seconds / (ended - ended_before) * (most - ended))
        repeats = f", {repeated} repeated with other seeds" if repeated else ""
        return f"{ended} of {most} trials ended or wait{repeats}; {clock(seconds)} passed, at most {clock(left)} left"

    def print_one(trials: Sequence[FrozenTrial], number: int, busy: Mapping[int, str] = NOBODY) -> None:
        words, last = times(trials), trials[number]
        if number in busy:
            return
        if last.state.is_finished() or waits(last, stops):
            values = " ".join(f"{short(name)}={_text(value)}" for name, value in last.params.items())
            reason = f" ({why(last)})" if why(last) else ""
            screen.print(
                f"  trial {last.number:>3} {state(last, stops):<8} {_score(last):>5}  {values}{reason} | "
                f"best so far: {best_so_far(trials)}; {words}"
            )

    with drawing() as screen:
        if not screen.is_terminal:
            yield print_one
            return
        with Live(console=screen, auto_refresh=False) as live:

            def draw(trials: Sequence[FrozenTrial], number: int, busy: Mapping[int, str] = NOBODY) -> None:
                live.update(frame(trials, names, screen, times(trials), stops, busy), refresh=True)

            yield draw


def frame(
    trials: Sequence[FrozenTrial],
    names: Sequence[str],
    screen: Console,
    times: str,
    stops: Sequence[int] = (),
    busy: Mapping[int, str] = NOBODY,
) -> RenderableType:
    """Return the latest trials in as many columns and rows as `screen` has room for, and below what has none."""
    rows = _rows(trials, max(min(LATEST, screen.height - LINES_BESIDE), 1), stops, busy)
    columns: dict[str, Callable[[FrozenTrial], str]] = {
        "trial": lambda trial: str(trial.number),
        "score": _score,
        "state": lambda trial: state(trial, stops, busy),
        "epoch": lambda trial: str(trial.last_step or 0),
        **({"worker": lambda trial: busy.get(trial.number, "")} if any(busy.values()) else {}),
        **{name: functools.partial(_value, name) for name in names},
        WHY: why,
    }
    shown = list(columns)
    while len(shown) > 1 and _width(_table(rows, columns, shown), screen) > screen.width:
        shown.pop()
    below = [short(name) for name in columns if name not in shown and name != WHY]
    notes = [f"no room for: {', '.join(below)}"] if below else []
    late = next((trial for trial in reversed(trials) if why(trial)), None)
    if WHY not in shown and late is not None:
        notes.append(f"trial {late.number} {state(late, stops, busy)}: {why(late)}")
    above = [f"best so far: {best_so_far(trials)}; {counted(trials, stops, busy)}", times]
    return Group(*above, _table(rows, columns, shown), *notes)


def _value(name: str, trial: FrozenTrial) -> str:
    return _text(trial.params.get(name, ""))


def _rows(trials: Sequence[FrozenTrial], most: int, stops: Sequence[int], busy: Mapping[int, str]) -> list[FrozenTrial]:
    """Return `most` trials, in their order: those that run, the best one, and the latest of the others."""
    best = _best(trials)
    wanted = sorted(trials, key=lambda trial: (state(trial, stops, busy) == "running", trial is best, trial.number))
    return sorted(wanted[-most:], key=lambda trial: trial.number)


def _table(
    trials: Sequence[FrozenTrial], columns: dict[str, Callable[[FrozenTrial], str]], shown: Sequence[str]
) -> Table:
    table = titled_table("", [short(name).replace("_", "\n") for name in shown], {WHY})
    for name, column in zip(shown, table.columns, strict=True):
        column.no_wrap, column.min_width = name != WHY, 24 if name == WHY else None
    for trial in trials:
        table.add_row(*(columns[name](trial) for name in shown), style=STYLES.get(trial.state, "dim"))
    return table


def _width(table: Table, screen: Console) -> int:
    """Return the columns of the terminal that a table needs to be whole."""
    return Measurement.get(screen, screen.options.update(width=WIDEST), table).minimum


def best_so_far(trials: Sequence[FrozenTrial]) -> str:
    """Return the best score and the trial's number: of the completed trials, before there are any of the furthest ones."""
    best = _best(trials)
    if best is None:
        return "none yet"
    so_far = "" if best.state == TrialState.COMPLETE else f" after epoch {best.last_step}"
    return f"{_score(best)}{so_far} (trial {best.number})"


def _best(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    complete = [trial for trial in searched(trials) if trial.state == TrialState.COMPLETE]
    return max(complete, key=objectives.score, default=None) or leader(searched(trials))


def short(name: str) -> str:
    """Return the last part of a dotted name, after the number of its block, as `0.kernel`."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if len(parts) > 1 and parts[-2].isdigit() else parts[-1]


def _score(trial: FrozenTrial) -> str:
    """Return the best score so far."""
    scores = [*trial.intermediate_values.values(), *(trial.values or ())[:1]]
    return f"{max(scores):.3f}" if scores else "-"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
