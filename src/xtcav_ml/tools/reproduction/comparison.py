"""What came out then, and what comes out now, beside each other: hashes of files, metrics, values of each epoch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import STAGES
from xtcav_ml.lineage.dvc_lock import Stage

NONE = "none"


@dataclass(frozen=True)
class Row:
    """One thing, then and now, as text; a `minor` one is worth a line only if it differs."""

    what: str
    then: str
    now: str
    same: bool
    minor: bool = False


def files(then: Mapping[str, Stage], now: Mapping[str, Stage]) -> list[Row]:
    """Return a row for each file or folder of data that the stages of two dvc.lock read or wrote, in their order."""
    first, second = _hashes(then), _hashes(now)
    return [_row(path, first.get(path), second.get(path), shown=_short) for path in _names(first, second)]


def metrics(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """Return a row for each value of two metrics.json; those inside lists and tables are minor."""
    first, second = (flatten(dict(values)) for values in (then, now))
    return [_row(name, first.get(name), second.get(name), "." in name) for name in _names(first, second)]


def curves(then: Mapping[str, Mapping[int, float]], now: Mapping[str, Mapping[int, float]]) -> list[Row]:
    """Return a row for each metric (name -> epoch -> value): its last epoch, or the first one that differs.

    Those of single classes, which end with a number, are minor.
    """
    return [_curve(name, then.get(name, {}), now.get(name, {})) for name in _names(then, now)]


def environment(then: Mapping[str, str], now: Mapping[str, str]) -> list[Row]:
    """Return a row for each thing that differs."""
    return [row for row in (_row(name, then.get(name), now.get(name)) for name in _names(then, now)) if not row.same]


def _curve(name: str, then: Mapping[int, float], now: Mapping[int, float]) -> Row:
    epochs = sorted(then.keys() | now.keys())
    differing = [epoch for epoch in epochs if not _equal(then.get(epoch), now.get(epoch))]
    shown = (differing or epochs)[0 if differing else -1]
    return _row(f"{name}, epoch {shown}", then.get(shown), now.get(shown), name[-1].isdigit())


def _row(what: str, then: Any, now: Any, minor: bool = False, shown: Callable[[Any], str] = str) -> Row:
    same = _equal(then, now)
    if same and isinstance(now, float):
        shown = "{:.10g}".format
    first, second = (NONE if value is None else shown(value) for value in (then, now))
    return Row(what, first, second, same, minor)


def _short(digest: str) -> str:
    """Return as much of a hash as a table has room for."""
    return digest[:12]


def _equal(then: Any, now: Any) -> bool:
    both_nan = then != then and now != now  # only NaN is not itself
    return bool(then == now or both_nan)


def _names(*tables: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _hashes(stages: Mapping[str, Stage]) -> dict[str, str]:
    """Return path and hash of what the stages read and wrote; what one wrote counts, should another have read an older one."""
    ran = [stages[name] for name in STAGES if name in stages]
    found: dict[str, str] = {}
    for files in (*(stage.deps for stage in ran), *(stage.outs for stage in ran)):
        found |= files
    return found
