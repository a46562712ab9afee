from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import REPORT

GROUP = "Results"
EXAMPLES = ("xtcav report", "xtcav report --out mine.html --summary")


def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = REPORT,
    summary: Annotated[bool, typer.Option("--summary", help="Then summarize the results as well.")] = False,
) -> None:
    """Write results and their origin to one HTML page."""
    from xtcav_ml.report import current
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tracking import result_run

    with writing(out):
        run = result_run.find(Path())
        if current.is_current(Path(), out, run):
            print(f"report: nothing to do, {out} is that of the present results")
        else:
            from xtcav_ml.report import page

            page.write_page(Path(), out, run)
    if summary:
        from xtcav_ml.tools.summary import print_summary

        print_summary(Path(), run)
