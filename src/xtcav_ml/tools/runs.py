"""runs: from a commit, or what is checked out, to its MLflow runs."""

from datetime import datetime

from xtcav_ml.lineage import git, lineage
from xtcav_ml.system.errors import UserError, masked
from xtcav_ml.system.progress import console
from xtcav_ml.tracking import mlflow_store, uploader
from xtcav_ml.tracking.mlflow_names import KEY_TAG, store_uri

METRICS = ("accuracy/test", "accuracy/validation", "loss/train")


def run(revision: str | None) -> None:
    """List the runs of the training that `revision`, or the workspace, describes, the newest first.

    Raises UserError if there is no such revision, no run, or no answer.
    """
    root = lineage.project_root()

    def read(name: str) -> bytes:
        return git.show(revision, name, root) if revision else (root / name).read_bytes()

    key, uri = lineage.of_revision("train", read).key, store_uri(root)
    uploader.be_brief()
    client, experiment = mlflow_store.connect(root)
    try:
        stored = mlflow_store.search(client, experiment, {KEY_TAG: key})
    except mlflow_store.TrackingError as error:
        raise mlflow_store.unanswered(root, error) from None
    if not stored:
        raise UserError(
            f"{revision or 'the workspace'}: no run with lineage.key {key} in {masked(uri)}. Fix: run `make repro`, which "
            "trains it, or recreates the run of results in DVC's cache"
        )
    screen = console()
    screen.print(f"lineage.key {key}")
    for one in stored:
        values = [f"{name} {one.data.metrics[name]:.4f}" for name in METRICS if name in one.data.metrics]
        edited = "edited" if one.data.tags.get("git.dirty") == "true" else "as committed"
        began = f"{datetime.fromtimestamp(one.info.start_time / 1000):%Y-%m-%d %H:%M}"
        rebuilt = ["rebuilt"] if "rebuilt" in one.data.tags else []
        screen.print(
            ", ".join([f"{one.info.run_id}  {one.info.run_name}", one.info.status, began, *values, edited, *rebuilt])
        )
    where = (
        f"{uri.rstrip('/')}/#/experiments/{experiment}" if uri.startswith("http") else f"{uri}, experiment {experiment}"
    )
    screen.print(f"in {masked(where)}")
