"""Threads that share a piece of work which is too short to start threads for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Helpers:
    """So many `threads`, of which the one that asks is the first.

    Who is free takes the next part, and none that has not begun is waited for: where other processes keep the helpers from
    running, the thread that asks does all of it, and waits at most for parts that a helper is doing.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(max(threads - 1, 1))  # which starts a thread when it is first asked for one

    def share(self, do: Callable[[int], object], count: int) -> None:
        """Do the parts 0 to `count` - 1. Raises what one of them raises; none is then being done any more."""
        left = iter(range(count))  # threads take from it one at a time, for Python's lock

        def work() -> None:
            for part in left:
                do(part)

        helping = [self._pool.submit(work) for _ in range(min(self.threads, count) - 1)]
        try:
            work()
        finally:
            for _ in left:  # after an error
                pass
            for each in helping:
                if not each.cancel():
                    each.result()
