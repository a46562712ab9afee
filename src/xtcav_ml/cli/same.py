import sys
from typing import Annotated

import typer

GROUP = "Tracking"
EXAMPLES = ("xtcav same", "xtcav same HEAD~1")


COMMIT = typer.Argument(metavar="REVISION", help="The commit whose code made the outputs.")


def same(revision: Annotated[str, COMMIT] = "HEAD") -> None:
    """Keep outputs if changed code leaves all bytes as they were.

    Runs simulate, check, prepare, train and evaluate on 246 simulated shots, with the code of the commit and with that of the
    working tree, and compares every byte of what they write; then the same for the notes' experiments that the commit's code
    made. Outputs of stages that write the same, and are out of date by their code alone, are taken over in dvc.lock instead of
    being made again. Exit code 1 if anything differs.
    """
    from xtcav_ml.lineage import fingerprint, project
    from xtcav_ml.system.one_writer import writing
    from xtcav_ml.tools import same as tool

    with writing(project.find_root() / fingerprint.FOLDER):
        sys.exit(0 if tool.take_over_if_same(revision) else 1)
