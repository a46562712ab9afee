import sys

GROUP, ORDER = "Tracking", 72


def sync() -> None:
    """Upload pending run data to MLflow.

    Exit code 1 if some remain.
    """
    from xtcav_ml.tools import sync as tool

    sys.exit(0 if tool.run() else 1)
