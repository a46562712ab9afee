"""sync: MLflow gets what it has not taken yet."""

from rich.table import Table

from xtcav_ml.lineage import lineage
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.journal import folder_of, ownerless
from xtcav_ml.tracking.tracker import Tracker


def run() -> bool:
    """Send all journals that no living process writes, list those that are left, and return whether there are none."""
    folder = folder_of(lineage.project_root())
    with Tracker(lineage.project_root()):
        pass
    table = Table(title="kept in mlruns/journal", title_justify="left", title_style="")
    for heading in ("run", "for the store", "entries left", "folder"):
        table.add_column(heading, justify="right" if heading == "entries left" else "left", overflow="fold")
    for journal in ownerless(folder):
        table.add_row(journal.begin["name"], journal.begin["store"], str(journal.unsent), journal.folder.name)
        journal.close()
    written = sum(1 for _ in folder.glob("[!.]*")) - table.row_count
    if table.row_count:
        console().print(table)
        console().print(
            "Another store's are sent when MLFLOW_TRACKING_URI names it; a folder that is removed is not sent."
        )
    if written:
        console().print(f"{written} more are being written or sent by a command that runs.")
    if not table.row_count and not written:
        console().print("MLflow has all that was told.")
    return not table.row_count
