"""results/changed.json: the parameters that are not those of the last committed results, in words, for the tables of DVC.

`dvc exp show` has a column for each parameter, far to the right; this one comes first. Where nothing differs, the file is the
committed one, so that it tells of each commit of results what came with it.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from xtcav_ml.config.paths import CHANGED, PARAMS_FILE
from xtcav_ml.lineage import git, recorded
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError

NAMED = 2  # parameters, of those that differ: more would leave a table of 120 columns no room for the accuracy
NOTHING = b'{\n  "changed": "-"\n}\n'


def write_changed(params: dict[str, Any], out: Path = CHANGED) -> None:
    """Write what of `params`, by dotted name, differs from the last commit of `out`, or else HEAD; without a commit nothing."""
    from xtcav_ml.config.base import flatten

    try:
        commit = next(iter(git.changing(str(out))), "HEAD")
        committed = flatten(YAML(typ="safe", pure=True).load(git.file_at(commit, str(PARAMS_FILE))))
    except (UserError, YAMLError):
        committed = params
    rows = recorded.differing({"then": committed, "now": params})
    changed = [f"{name} {row['now'] or 'removed'}" for name, row in rows.items()]
    if changed:
        more = [f"{len(changed) - NAMED} more"] if len(changed) > NAMED else []
        atomic.write_json(out, {"changed": ", ".join(changed[:NAMED] + more)})
        return
    with atomic.replacing(out) as temporary:
        temporary.write_bytes(_committed(out))


def _committed(out: Path) -> bytes:
    try:
        return git.file_at("HEAD", str(out))
    except UserError:
        return NOTHING
