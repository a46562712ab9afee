import sys

GROUP = "Tracking"
EXAMPLES = ("xtcav sync",)
KEPT = "what was uploaded is in MLflow, the rest in mlruns/journal; `xtcav sync` goes on"


def sync() -> None:
    """Upload pending run data to MLflow.

    Exit code 1 if some remain.
    """
    from xtcav_ml.lineage import project
    from xtcav_ml.system.progress import console, titled_table
    from xtcav_ml.tracking.journal import folder_of, ownerless
    from xtcav_ml.tracking.tracker import Tracker

    root, screen = project.find_root(), console()
    with Tracker(root):  # uploads all journals that no living process writes
        pass
    headings = ("run", "for the store", "entries left", "folder")
    table = titled_table("kept in mlruns/journal", headings, {"run", "for the store", "folder"})
    for column in table.columns:
        column.overflow = "fold"
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
    sys.exit(1 if table.row_count else 0)
