from pathlib import Path
from typing import Annotated

import typer

from xtcav_ml.config.paths import REPORT

GROUP, ORDER = "Results", 51


def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = REPORT,
) -> None:
    """Write results and their origin to one HTML page."""
    from xtcav_ml.report import page

    page.write_page(Path(), out)
