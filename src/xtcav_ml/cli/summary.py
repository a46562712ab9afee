"""xtcav summary."""

from xtcav_ml.config.paths import RESULTS

GROUP, ORDER = "Results", 50


def summary() -> None:
    """Summarize the present results."""
    from xtcav_ml.tools import summary as tool

    tool.run(RESULTS)
