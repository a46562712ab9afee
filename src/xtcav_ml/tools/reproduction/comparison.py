"""Hashes of files, metrics, and values of each epoch: those of a run compared with those of its repetition."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import STAGES
from xtcav_ml.lineage.dvc_lock import Stage


@dataclass(frozen=True)
class Comparison:
    """A value then and now, as text; a `minor` one is worth a line only if it differs."""

    name: str
    then: str
    now: str
    same: bool
    minor: bool = False


def compare_files(then: Mapping[str, Stage], now: Mapping[str, Stage]) -> list[Comparison]:
    """Compare the hash of each file or folder of data that the stages of two dvc.lock read or wrote, in their order."""
    return _compare_all(_hashes(then), _hashes(now), shown=lambda digest: digest[:12])


def compare_metrics(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Comparison]:
    """Compare each value of two metrics.json; those inside lists and tables are minor."""
    return _compare_all(flatten(dict(then)), flatten(dict(now)), minor=lambda name: "." in name)


def compare_curves(then: Mapping[str, Mapping[int, float]], now: Mapping[str, Mapping[int, float]]) -> list[Comparison]:
    """Compare each metric (name -> epoch -> value) at its last epoch, or at the first one that differs.

    Those of single classes, which end with a number, are minor.
    """
    return [_compare_curve(name, then.get(name, {}), now.get(name, {})) for name in dict.fromkeys([*then, *now])]


def compare_environments(then: Mapping[str, str], now: Mapping[str, str]) -> list[Comparison]:
    """Return the libraries and parts of the machine that differ."""
    return [row for row in _compare_all(then, now) if not row.same]


def _compare_all(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    minor: Callable[[str], bool] = lambda name: False,
    shown: Callable[[Any], str] = str,
) -> list[Comparison]:
    names = dict.fromkeys([*then, *now])
    return [_compare(name, then.get(name), now.get(name), minor(name), shown) for name in names]


def _compare_curve(name: str, then: Mapping[int, float], now: Mapping[int, float]) -> Comparison:
    epochs = sorted(then.keys() | now.keys())
    differing = [epoch for epoch in epochs if not _equal(then.get(epoch), now.get(epoch))]
    epoch = differing[0] if differing else epochs[-1]
    return _compare(f"{name}, epoch {epoch}", then.get(epoch), now.get(epoch), name[-1].isdigit())


def _compare(name: str, then: Any, now: Any, minor: bool, shown: Callable[[Any], str] = str) -> Comparison:
    same = _equal(then, now)
    if same and isinstance(now, float):
        shown = "{:.10g}".format
    first, second = ("none" if value is None else shown(value) for value in (then, now))
    return Comparison(name, first, second, same, minor)


def _equal(then: Any, now: Any) -> bool:
    both_nan = then != then and now != now  # only NaN is not itself
    return bool(then == now or both_nan)


def _hashes(stages: Mapping[str, Stage]) -> dict[str, str]:
    """Return the hash of each path that the stages read and wrote; of a path that both have, that which was written."""
    ran = [stages[name] for name in STAGES if name in stages]
    hashes: dict[str, str] = {}
    for files in (*(stage.deps for stage in ran), *(stage.outs for stage in ran)):
        hashes |= files
    return hashes
