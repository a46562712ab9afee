"""What `make seeds` leaves: seeds.json with the accuracy of a group of seeds, and the predictions of each seed as one table."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from xtcav_ml.config.paths import GROUP, GROUP_PREDICTIONS
from xtcav_ml.data import result_files
from xtcav_ml.science.thresholds import INTERVAL
from xtcav_ml.system.errors import UserError, reading, warn

CURE = "remove it, then run `make seeds`"


def present(root: Path, group: str) -> dict[str, Any] | None:
    """Return seeds.json of the project in `root`, if it is of the group with this key.

    A damaged one, as after a merge, is a warning: `make repro` does without it, and `make seeds` begins with `make repro`.
    """
    if not (root / GROUP).is_file():
        return None
    try:
        found = result_files.read(root / GROUP, result_files.Group, CURE)
    except UserError as error:
        warn(error)
        return None
    return found if found["group"] == group else None


def sentences(group: Mapping[str, Any]) -> list[str]:
    """Return, of each quantity in seeds.json, the mean over the seeds and its spread in words."""
    return [_sentence(name, found, group) for name, found in group["mean"].items()]


def expected_accuracy(group: Mapping[str, Any]) -> float | None:
    """Return the mean over the seeds of the accuracy with labels drawn again; None unless all of them have one."""
    found = [one.get("expected_accuracy") for one in group["seeds"].values()]
    return None if None in found else mean(found)


def _sentence(name: str, found: Mapping[str, float], group: Mapping[str, Any]) -> str:
    share, seeds = name == "accuracy", len(group["seeds"])
    middle, low, high = (f"{found[key]:.1%}" if share else f"{found[key]:.3g}" for key in ("mean", "low", "high"))
    sd = f"{100 * found['sd']:.1f} points" if share else f"{found['sd']:.2g}"
    text = (
        f"Mean of {seeds} seeds: {name} {middle}, s.d. {sd}; {INTERVAL} of the mean {low} to {high} (seeds and shots)"
    )
    expected = expected_accuracy(group) if share else None
    return text if expected is None else f"{text}; {expected:.1%} is expected with labels drawn again"


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
