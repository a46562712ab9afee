"""record: the run of the present results is in MLflow, whole and once, wherever they came from.

DVC runs it every time, since no file lists what a store has. With nothing to do it ends before a slow import.
"""

import contextlib
import json
from pathlib import Path

from xtcav_ml.config.paths import METRICS, RESULTS, RUN_ADDRESS
from xtcav_ml.lineage import lineage
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import quick_check
from xtcav_ml.tracking.journal import folder_of
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, KEY_TAG, MODEL_TAG, store_uri


def record(model: Path, history: Path, results: Path) -> None:
    """Add to MLflow what it lacks of the run that made `model`, and write the run's address below `results`.

    Raises UserError if a result is missing.
    """
    for path in (model, history, results / METRICS.name):
        if not path.is_file():
            raise UserError(f"{path}: not a file (found none, expected a result to record). Fix: run `make repro`")
    root, origin = lineage.project_root(), lineage.of_output("train", model)
    digests = {MODEL_TAG: lineage.file_md5(model), EVALUATION_TAG: lineage.file_md5(results / METRICS.name)}
    wanted = {KEY_TAG: origin.key, **digests}
    address = results / RUN_ADDRESS.relative_to(RESULTS)
    with contextlib.suppress(FileNotFoundError):
        run_id, pending = json.loads(address.read_text())["run_id"], any(folder_of(root).glob("[!.]*"))
        if not pending and quick_check.finished(store_uri(root), run_id, wanted):
            return
    from xtcav_ml.tracking import recording

    address.unlink(missing_ok=True)  # of an earlier run: what follows may fail
    where = recording.complete_run(origin, wanted, model, history, results)
    if where:
        atomic.write_json(address, where)
