"""What a command prints: tables, and progress as a live bar on a terminal or a plain line now and then elsewhere."""

import contextlib
import textwrap
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from xtcav_ml.system.errors import shown, warn

LINE_SECONDS = 10.0  # seconds between plain lines where there is no terminal
SILENT_SECONDS = 3.0  # seconds that a wait may take before a line tells of it


WIDEST = 10_000  # columns of a line that may be longer than the terminal is wide


NARROWEST = 80  # columns for which tables are made; a narrower terminal tears them

_live: list["_Safe"] = []  # the consoles of the bars and tables that are live now, the newest last


class _Safe(Console):
    """A console that shows names of files, classes and runs as they are, and does nothing that they say.

    What it prints while a bar or a table is live goes above that, and never into its lines. On a terminal long lines go on
    below at a word, and tables fold their cells.
    """

    def print(self, *things: Any, **options: Any) -> None:
        """Print on the terminal's one console that knows where the cursor is."""
        above = _live[-1] if _live else self
        if above.is_terminal:
            things = tuple(_fitted(thing, above.width) for thing in things)
        Console.print(above, *things, **options if above is self else {"soft_wrap": True, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Return what is printed for a text, with escapes for what is none."""
        return super().render_str("\n".join(shown(line) for line in text.split("\n")), **options)


def _fitted(thing: Any, width: int) -> Any:
    """Return what is printed so that no word is torn: in lines of `width` columns, or with columns as wide as their words."""
    if isinstance(thing, str):
        lines = thing.split("\n")
        return "\n".join(
            line if len(line) <= width or " " not in line.strip() else _wrapped(line, width) for line in lines
        )
    if isinstance(thing, Table):
        _fit(thing, width)
    return thing


def _fit(table: Table, width: int) -> None:
    """Let columns be as wide as their longest words at least, if all fit, and share the rest by what they have to show."""
    cells = [[*str(column.header).split("\n"), *map(str, column.cells)] for column in table.columns]
    whole = [max(map(len, column)) for column in cells]
    least = [max((len(word) for cell in column for word in cell.split()), default=1) for column in cells]
    room = width - 3 * len(cells) - 1  # less the frame
    if sum(whole) > room >= sum(least):
        spare, wanted = room - sum(least), sum(whole) - sum(least)
        for column, low, high in zip(table.columns, least, whole, strict=True):
            column.width = low + spare * (high - low) // wanted


def _wrapped(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def console() -> Console:
    """Return a console that leaves long lines and wide tables whole, so that they can be searched and copied.

    On a terminal both keep to its width.
    """
    screen = _Safe(soft_wrap=True, highlight=False, markup=False)
    screen.width = max(screen.width, NARROWEST) if screen.is_terminal else WIDEST
    return screen


@contextlib.contextmanager
def drawing() -> Iterator[Console]:
    """Yield a console of exactly the terminal's width, to draw on again and again; other consoles print above that.

    Without a terminal it is one as any other.
    """
    screen = _Safe(highlight=False, markup=False)
    if not screen.is_terminal:
        yield console()
        return
    _live.append(screen)
    try:
        yield screen
    finally:
        _live.remove(screen)


def titled_table(title: str, headings: Iterable[str], left: Container[str] = ()) -> Table:
    """Return an empty table; its columns are right-aligned, but those whose headings are in `left`."""
    table = Table(title=title, title_justify="left", title_style="")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", overflow="fold")
    return table


LABEL = 11  # characters of the column of labels


def labelled(label: str, text: str, width: int) -> str:
    """Return a label and its text in lines of a column beside it; an address is never broken, so that a click opens it."""
    lines = textwrap.wrap(text, max(width - LABEL, 20), break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), " " * LABEL).replace(" " * LABEL, f"{label:<{LABEL}}", 1)


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, such as 0:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def pace(speed: float) -> str:
    """Return `speed`, 1/s and more than 0, in words with at least two digits: a rate, or the seconds that one takes."""
    if speed < 1:
        return f"{1 / speed:.3g} s each"
    return f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


@contextlib.contextmanager
def counting(unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of `unit`, of `total`, just completed."""
    with drawing() as screen:
        yield from _bar(unit, total, screen) if screen.is_terminal else _lines(unit, total, screen)


WORDS_OF_BAR = 62  # columns that the bar leaves to what stands beside it


def _bar(unit: str, total: int, screen: Console) -> Iterator[Callable[[int], None]]:
    bar = BarColumn(min(40, max(screen.width - WORDS_OF_BAR, 4)))
    times = (TimeElapsedColumn(), TextColumn("passed,"), TimeRemainingColumn(), TextColumn("left"))
    columns = (TextColumn(f"  {unit}"), bar, MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), *times)
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(unit, total=total, rate="")

        def advance(count: int) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, advance=count, rate=f"{pace(speed)}," if speed else "")

        yield advance


def _lines(unit: str, total: int, screen: Console) -> Iterator[Callable[[int], None]]:
    """Print a line now and then; its rate is of what came after the first piece, for which a start may have been waited."""
    completed, began, first, last = 0, time.monotonic(), (0, 0.0), time.monotonic()

    def report(count: int) -> None:
        nonlocal completed, first, last
        now, before = time.monotonic(), completed
        completed += count
        if count and not before:
            first = (count, now)
        if completed and now - last >= LINE_SECONDS:
            last, rate, left = now, "", ""
            if completed > first[0]:
                each = (now - first[1]) / (completed - first[0])
                rate, left = f", {pace(1 / each)}", f", {clock(each * (total - completed))} left"
            screen.print(f"  {completed:,} of {total:,} {unit}{rate}, {clock(now - began)} passed{left}")

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
