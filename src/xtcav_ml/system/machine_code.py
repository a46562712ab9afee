"""What numba compiles, kept for the next process where numba finds a folder for it, and compiled anew where it does not."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

from xtcav_ml.system.errors import warn

UNUSABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What numba raises if it finds no folder that it may write to, a full one, or a damaged file in it."""


def cached(decorate: Callable[..., Any], function: Callable[..., Any]) -> Any:
    """Return what `decorate`, a decorator of numba with the option `cache`, makes of a function.

    numba compiles into NUMBA_CACHE_DIR, beside the source, or below the home folder. All of them may be closed to it, as in a
    container. The code is then kept in memory alone, and a warning says so once.
    """
    try:
        return decorate(cache=True)(function)
    except UNUSABLE:
        _warn()
        return decorate()(function)


@functools.cache
def _warn() -> None:
    warn(
        "numba's cache: not usable, so that each process compiles anew (found no folder that can be written to, or a full or "
        "damaged one, expected one). Fix: set NUMBA_CACHE_DIR to another"
    )
