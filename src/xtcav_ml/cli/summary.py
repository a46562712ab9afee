from pathlib import Path

GROUP, ORDER = "Results", 50


def summary() -> None:
    """Summarize the present results."""
    from xtcav_ml.tools import summary as tool

    tool.print_summary(Path())
