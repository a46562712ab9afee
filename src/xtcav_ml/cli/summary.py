from pathlib import Path

GROUP = "Results"
EXAMPLES = ("xtcav summary",)


def summary() -> None:
    """Summarize the present results."""
    from xtcav_ml.tools import summary as tool
    from xtcav_ml.tracking import result_run

    tool.print_summary(Path(), result_run.find(Path()))
