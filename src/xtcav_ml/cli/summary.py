from pathlib import Path

GROUP = "Results"
EXAMPLES = ("xtcav summary",)


def summary() -> None:
    """Summarize the present results."""
    from xtcav_ml.tools import summary as tool

    tool.print_summary(Path())
