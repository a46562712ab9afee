import sys
from typing import Annotated

import typer

GROUP = "Tracking"
EXAMPLES = ("xtcav same", "xtcav same HEAD~1")


COMMIT = typer.Argument(metavar="REVISION", help="The commit whose code made the outputs.")


def same(revision: Annotated[str, COMMIT] = "HEAD") -> None:
    """Keep outputs if changed code leaves all bytes as they were.

    Runs simulate, check, prepare, train and evaluate on 246 simulated shots, with the code of the commit and with that of the
    working tree, and compares every byte of what they write. If all are equal, outputs that are out of date by their code
    alone are taken over (`dvc commit`) instead of being made again; if not, prints the first file that differs and changes
    nothing. Exit code 1 if anything differs.
    """
    from xtcav_ml.lineage import fingerprint, project
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import same as tool

    with writing(project.find_root() / fingerprint.FOLDER):
        sys.exit(0 if tool.take_over_if_same(revision) else 1)
