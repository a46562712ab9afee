"""One command, `xtcav`."""

import sys
from collections.abc import Callable

import typer

from xtcav_ml.cli import pipeline, results, search, shots, tracking
from xtcav_ml.system import interrupts
from xtcav_ml.system.errors import DISK_FULL, UserError, disk_full, unusable

STAGES: list[Callable[..., None]] = [
    pipeline.validate,
    pipeline.simulate,
    pipeline.check,
    pipeline.prepare,
    pipeline.train,
    pipeline.evaluate,
    pipeline.record,
]
TOOLS: list[Callable[..., None]] = [
    results.describe,
    shots.scan,
    shots.relabel,
    shots.show,
    shots.predict,
    results.compare,
    results.report,
    results.summary,
    search.tune,
    search.experiment,
    search.promote,
    tracking.promote_model,
    tracking.sync,
    results.runs,
    results.reproduce,
    tracking.ui,
    tracking.server,
]

app = typer.Typer(
    help="Learn from XTCAV shot images. Parameters are in params.yaml; `make repro` or `dvc repro` runs the stages in order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for stage in STAGES:
    app.command(rich_help_panel="Stages (run by dvc repro, each from what the one before wrote)")(stage)
for tool in TOOLS:
    app.command(rich_help_panel="Tools")(tool)


def main() -> None:
    """Run a command; a user's mistake is one line and exit code 1, never a traceback.

    SIGTERM, with which batch systems end a job, is taken as Ctrl-C: what has begun is ended in order.
    """
    interrupts.listen()
    try:
        app()
    except UserError as error:
        print(f"xtcav: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        path = error.filename2 or error.filename  # of a renaming, that which it should become
        if error.errno not in DISK_FULL and path is None:
            raise
        told = disk_full(path or "a file", error) if error.errno in DISK_FULL else unusable(path, error)
        print(f"xtcav: {told}", file=sys.stderr)
        sys.exit(1)
