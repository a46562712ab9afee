"""The tuner's live table: a row a trial, the best so far on top; plain lines where there is no terminal.

Optuna's progress bar counts trials; a table of them exists only in its dashboard, a server of its own.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.live import Live

from xtcav_ml.system.progress import console, titled_table

LATEST = 20  # trials shown at once
STYLES = {TrialState.RUNNING: "bold", TrialState.COMPLETE: ""}


Show = Callable[[Sequence[FrozenTrial]], None]


@contextlib.contextmanager
def search_table(names: Sequence[str], minutes: float) -> Iterator[Show]:
    """Yield a function that shows the trials of a search over the parameters `names`, at most `minutes` long.

    Without a terminal it prints the last one, which has changed, once it has ended.
    """
    screen, started = console(live=True), time.monotonic()

    def elapsed() -> float:
        return (time.monotonic() - started) / 60

    def draw(trials: Sequence[FrozenTrial]) -> None:
        title = f"best so far: {best_so_far(trials)}; {elapsed():.1f} of {minutes:g} minutes"
        table = titled_table(title, ("trial", "state", "score", "epoch", *map(short, names)))
        for trial in trials[-LATEST:]:
            values = (_text(trial.params.get(name, "")) for name in names)
            cells = (str(trial.number), trial.state.name.lower(), _score(trial), str(trial.last_step or 0), *values)
            table.add_row(*cells, style=STYLES.get(trial.state, "dim"))
        live.update(table, refresh=True)

    def print_last(trials: Sequence[FrozenTrial]) -> None:
        last = trials[-1]
        if last.state.is_finished():
            values = " ".join(f"{short(name)}={_text(value)}" for name, value in last.params.items())
            note = f"  {last.user_attrs['note']}" if "note" in last.user_attrs else ""
            screen.print(
                f"  {elapsed():>4.1f} min  trial {last.number:>3} {last.state.name.lower():<8} {_score(last)}  "
                f"{values}{note} | best so far {best_so_far(trials)}"
            )

    if screen.is_terminal:
        with Live(console=screen, auto_refresh=False) as live:
            yield draw
    else:
        yield print_last


def best_so_far(trials: Sequence[FrozenTrial]) -> str:
    """Return the best score of the completed trials, and the trial's number."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = max(complete, key=lambda trial: trial.value, default=None)
    return "none yet" if best is None else f"{best.value:.3f} (trial {best.number})"


def short(name: str) -> str:
    """Return the last part of a dotted name, after the number of its block, as `0.kernel`."""
    parts = name.split(".")
    return ".".join(parts[-2:]) if len(parts) > 1 and parts[-2].isdigit() else parts[-1]


def _score(trial: FrozenTrial) -> str:
    """Return the best score so far."""
    return f"{max(trial.intermediate_values.values()):.3f}" if trial.intermediate_values else "    -"


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
