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
                bar.update(task, advance=count, rate=f"{speed:.0f}/s" if speed else "")

            yield advance
        return

    done, started, last = 0, time.monotonic(), time.monotonic()

    def report(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= QUIET:
            last = now
            screen.print(f"  {done:,} of {total:,} {what}, {done / (now - started):.0f}/s")

    yield report
