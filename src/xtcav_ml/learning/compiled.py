"""Loops that numpy cannot say in one pass, compiled by numba on first use; what was compiled is kept beside the source."""

from collections.abc import Callable
from typing import Any

import numba

compiled: Callable[[Any], Any] = numba.njit(nogil=True, cache=True)
"""Decorator: the function's other threads go on meanwhile."""
