"""What `make seeds` leaves: seeds.json with the accuracy of a group of seeds, and the predictions of each seed as one table."""

import json
from collections.abc import Callable

from xtcav_ml.config.paths import GROUP, GROUP_PREDICTIONS
from xtcav_ml.data import predictions
from xtcav_ml.data.compared_predictions import Run
from xtcav_ml.system.errors import UserError, reading

CURE = "run `make seeds`"


def run_of(name: str, text: str, group: str = "") -> Run:
    """Return a run from its table of predictions and that of its group, if it has one; `text` may be a group's itself.

    Raises UserError if one is no such table.
    """
    rows = predictions.read_rows(name, text)
    own = list(predictions.by_seed(rows).values())
    seeds = list(predictions.by_seed(predictions.read_rows(name, group)).values()) if group else own
    return Run(name, own[0] if own else rows, seeds)


def read_table(read_file: Callable[[str], bytes], group: str) -> str:
    """Return the table of predictions of the group with this key, which `read_file` reads by name; empty if there is none.

    `read_file` raises OSError or UserError for a missing file.
    """
    try:
        results, table = (read_file(str(path)) for path in (GROUP, GROUP_PREDICTIONS))
    except (OSError, UserError):
        return ""
    with reading(GROUP, "results of a group of seeds", CURE):
        return table.decode(errors="replace") if json.loads(results)["group"] == group else ""
