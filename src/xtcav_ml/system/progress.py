"""Progress on anything long: a live bar on a terminal, a plain line now and then elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

QUIET = 10.0
"""Seconds between plain lines where there is no terminal."""


def console() -> Console:
    """Return a console that leaves long lines whole, so that they can be searched and copied."""
    return Console(soft_wrap=True, highlight=False, markup=False)


def pace(speed: float) -> str:
    """Return `speed`, 1/s and more than 0, in words with at least two digits: a rate, or the seconds that one takes."""
    if speed < 1:
        return f"{1 / speed:.3g} s each"
    return f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s"


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function to call with the number of `what` just done, of `total`."""
    screen = console()
    if screen.is_terminal:
        columns = (TextColumn(f"  {what}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True) as bar:
            task = bar.add_task(what, total=total, rate="")

            def advance(count: int) -> None:
                speed = bar.tasks[task].speed
                bar.update(task, advance=count, rate=pace(speed) if speed else "")

            yield advance
        return

    done, started, last = 0, time.monotonic(), time.monotonic()

    def report(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= QUIET:
            last = now
            screen.print(f"  {done:,} of {total:,} {what}, {pace(done / (now - started))}")

    yield report
