from typing import Annotated

import typer

GROUP = "Tracking"


SHOWN = ("accuracy/test", "accuracy/validation", "loss/train")


def runs(
    revision: Annotated[
        str | None, typer.Argument(metavar="REVISION", help="A git revision; default: the workspace.")
    ] = None,
) -> None:
    """List the MLflow runs of a commit or the workspace.

    Exit code 1 if there is none.
    """
    from datetime import datetime

    from xtcav_ml.lineage import git, lineage, project
    from xtcav_ml.system.errors import UserError, masked
    from xtcav_ml.system.progress import console
    from xtcav_ml.tracking import mlflow_store, uploader
    from xtcav_ml.tracking.mlflow_names import KEY_TAG, store_uri

    root, screen = project.find_root(), console()

    def read(name: str) -> bytes:
        return git.file_at(revision, name, root) if revision else (root / name).read_bytes()

    key, uri = lineage.of_revision("train", read).key, store_uri(root)
    uploader.be_brief()
    client, experiment = mlflow_store.connect(root)
    with mlflow_store.answering(root):
        listed = mlflow_store.search_runs(client, experiment, {KEY_TAG: key})
    if not listed:
        raise UserError(
            f"{revision or 'the workspace'}: no run in {masked(uri)} (found 0, expected a run with lineage.key {key}). Fix: "
            "run `make repro`, which trains it or logs the results in DVC's cache"
        )
    screen.print(f"lineage.key {key}")
    for one in listed:
        began = f"{datetime.fromtimestamp(one.info.start_time / 1000):%Y-%m-%d %H:%M}"
        values = [f"{name} {one.data.metrics[name]:.4f}" for name in SHOWN if name in one.data.metrics]
        edited = "edited" if one.data.tags.get("git.dirty") == "true" else "as committed"
        rebuilt = ["rebuilt"] if "rebuilt" in one.data.tags else []
        name = f"{one.info.run_id}  {one.info.run_name}"
        screen.print(", ".join([name, one.info.status, began, *values, edited, *rebuilt]))
    page = f"{uri.rstrip('/')}/#/experiments/" if uri.startswith("http") else f"{uri}, experiment "
    screen.print(f"in {masked(page)}{experiment}")
