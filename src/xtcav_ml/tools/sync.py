"""sync: uploads to MLflow what it does not have yet."""

from rich.table import Table

from xtcav_ml.lineage import lineage
from xtcav_ml.system.progress import console
from xtcav_ml.tracking.journal import folder_of, ownerless
from xtcav_ml.tracking.tracker import Tracker


def run() -> bool:
    """Upload all journals that no living process writes, list those that are left, and return whether there are none."""
    root, screen = lineage.project_root(), console()
    with Tracker(root):
        pass
    table = Table(title="kept in mlruns/journal", title_justify="left", title_style="")
    for heading in ("run", "for the store", "entries left", "folder"):
        table.add_column(heading, justify="right" if heading == "entries left" else "left", overflow="fold")
    for journal in ownerless(folder_of(root)):
        table.add_row(journal.begin["name"], journal.begin["store"], str(journal.pending), journal.folder.name)
        journal.close()
    busy = sum(1 for _ in folder_of(root).glob("[!.]*")) - table.row_count
    if table.row_count:
        screen.print(table)
        screen.print("Run data for another store are uploaded when MLFLOW_TRACKING_URI names it.")
        screen.print("Removing a folder discards its run data.")
    if busy:
        screen.print(f"{busy} more are being written or uploaded by a running command.")
    if not table.row_count and not busy:
        screen.print("Everything has been uploaded.")
    return not table.row_count
