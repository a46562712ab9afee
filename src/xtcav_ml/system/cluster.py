"""Whether Dask is installed, of which the work of one process has no need."""

import importlib.util

from xtcav_ml.system.errors import UserError


def require_installed() -> None:
    """Raise UserError unless Dask is installed."""
    if any(importlib.util.find_spec(name) is None for name in ("distributed", "dask_jobqueue")):
        raise UserError(
            "--workers, --cluster: Dask is not installed (found no package dask-jobqueue or distributed, expected both). Fix: "
            "run `make install-cluster`"
        )
