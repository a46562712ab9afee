from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import REPORT

GROUP = "Results"


def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = REPORT,
) -> None:
    """Write results and their origin to one HTML page."""
    from xtcav_ml.report import current
    from xtcav_ml.system.one_writer import writing

    with writing(out):
        if current.is_current(Path(), out):
            print(f"report: nothing to do, {out} is that of the present results")
            return
        from xtcav_ml.report import page

        page.write_page(Path(), out)
