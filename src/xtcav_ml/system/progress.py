"""What a command prints: tables, and progress as a live bar on a terminal or a plain line now and then elsewhere."""

import contextlib
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from xtcav_ml.system.errors import shown, warn

LINE_SECONDS = 10.0  # seconds between plain lines where there is no terminal
SILENT_SECONDS = 3.0  # seconds that a wait may take before a line tells of it


WIDEST = 10_000  # columns of a line that may be longer than the terminal is wide


class _Safe(Console):
    """A console that shows names of files, classes and runs as they are, and does nothing that they say."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return what is printed for a text, with escapes for what is none."""
        return super().render_str("\n".join(shown(line) for line in text.split("\n")), **options)


def console(live: bool = False) -> Console:
    """Return a console that leaves long lines and wide tables whole, so that they can be searched and copied.

    One that is `live` keeps to the width of the terminal, within which it draws again.
    """
    return _Safe(soft_wrap=True, highlight=False, markup=False, width=None if live else WIDEST)


def titled_table(title: str, headings: Iterable[str], left: Container[str] = ()) -> Table:
    """Return an empty table; its columns are right-aligned, but those whose headings are in `left`."""
    table = Table(title=title, title_justify="left", title_style="")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table


def pace(speed: float) -> str:
    """Return `speed`, 1/s and more than 0, in words with at least two digits: a rate, or the seconds that one takes."""
    if speed < 1:
        return f"{1 / speed:.3g} s each"
    return f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


@contextlib.contextmanager
def counting(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of `unit`, of `total`, just completed."""
    screen = console(live=True)
    if screen.is_terminal:
        columns = (TextColumn(f"  {unit}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True) as bar:
            task = bar.add_task(unit, total=total, rate="")

            def advance(count: int) -> None:
                speed = bar.tasks[task].speed
                bar.update(task, advance=count, rate=pace(speed) if speed else "")

            yield advance
        return

    completed, started, last = 0, time.monotonic(), time.monotonic()

    def report(count: int) -> None:
        nonlocal completed, last
        completed += count
        now = time.monotonic()
        if now - last >= LINE_SECONDS:
            last = now
            screen.print(f"  {completed:,} of {total:,} {unit}, {pace(completed / (now - started))}")

    yield report


_waiting: set[str] = set()  # what is waited for now


@contextlib.contextmanager
def told(waiting: str) -> Iterator[None]:
    """Print a line if what is done meanwhile takes longer than SILENT_SECONDS; once for waits within each other."""
    if waiting in _waiting:
        yield
        return
    timer = threading.Timer(SILENT_SECONDS, warn, [waiting])  # to stderr: the output may be JSON
    timer.daemon = True
    timer.start()
    _waiting.add(waiting)
    try:
        yield
    finally:
        _waiting.discard(waiting)
        timer.cancel()
