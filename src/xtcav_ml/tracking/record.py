"""record: the run of the present results is in MLflow, whole and once, wherever they came from.

DVC runs it every time, since no file says what a store has. Where nothing is to be done it ends before anything slow is
imported.
"""

import contextlib
import json
from pathlib import Path

from xtcav_ml.config.paths import METRICS, RESULTS, RUN_ADDRESS
from xtcav_ml.lineage import lineage
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import quick_check
from xtcav_ml.tracking.journal import folder_of
from xtcav_ml.tracking.mlflow_names import EVALUATION_TAG, KEY_TAG, MODEL_TAG, store_uri


def run(model: Path, history: Path, results: Path) -> None:
    """Add to MLflow what it lacks of the run that made `model`, and keep the run's address in `results`.

    Raises UserError if a result is missing.
    """
    for path in (model, history, results / METRICS.name):
        if not path.is_file():
            raise UserError(f"{path}: no such file to record. Fix: run `make repro`, which writes it")
    root, digest = lineage.project_root(), lineage.file_md5(model)
    origin = lineage.of_output("train", model)
    wanted = {KEY_TAG: origin.key, MODEL_TAG: digest, EVALUATION_TAG: lineage.file_md5(results / METRICS.name)}
    address = results / RUN_ADDRESS.relative_to(RESULTS)
    with contextlib.suppress(FileNotFoundError):
        run_id, pending = json.loads(address.read_text())["run_id"], any(folder_of(root).glob("[!.]*"))
        if not pending and quick_check.finished(store_uri(root), run_id, wanted):
            return
    from xtcav_ml.tracking import recording

    recording.record(root, origin, wanted, model, history, results, address)
