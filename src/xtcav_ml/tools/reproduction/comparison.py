"""Hashes of files, metrics, and values of each epoch: those of a run compared with those of its repetition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import MODEL, STAGES
from xtcav_ml.lineage.dvc_lock import Stage
from xtcav_ml.lineage.environment import CLASS


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
    rows = _compare_all(_hashes(then), _hashes(now))
    return [replace(row, then=row.then[:12], now=row.now[:12]) for row in rows]


def compare_metrics(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Comparison]:
    """Compare each value of two evaluations; those inside lists and tables are minor."""
    rows = _compare_all(flatten(dict(then)), flatten(dict(now)))
    return [replace(row, minor="." in row.name) for row in rows]


def compare_curves(then: Mapping[str, Mapping[int, float]], now: Mapping[str, Mapping[int, float]]) -> list[Comparison]:
    """Compare each metric (name -> epoch -> value) at its last epoch, or at the first one that differs.

    Those of single classes, which have a point, are minor.
    """
    rows = []
    for name in dict.fromkeys([*then, *now]):
        one, other = then.get(name, {}), now.get(name, {})
        epochs = sorted(one.keys() | other.keys())
        epoch = next((epoch for epoch in epochs if not _equal(one.get(epoch), other.get(epoch))), epochs[-1])
        row = _compare(f"{name}, epoch {epoch}", one.get(epoch), other.get(epoch))
        rows.append(replace(row, minor="." in name))
    return rows


def compare_environments(then: Mapping[str, str], now: Mapping[str, str]) -> list[Comparison]:
    """Return the libraries and parts of the machine that differ."""
    return [row for row in _compare_all(then, now) if not row.same]


def other_class(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return in words how the classes of processor of two environments differ; None unless both are recorded and do."""
    one, other = then.get(CLASS), now.get(CLASS)
    return f"{one} in the run, {other} here" if one and other and one != other else None


def only_weights_differ(rows: Sequence[Comparison], stages: Mapping[str, Stage]) -> bool:
    """Return whether of all compared files those that stage `prepare` read and wrote are the same, and the model is not."""
    prepare = stages.get("prepare", Stage())
    data = [row for row in rows if row.name in (*prepare.deps, *prepare.outs)]
    other_weights = any(row.name == str(MODEL) and not row.same for row in rows)
    return bool(data) and all(row.same for row in data) and other_weights


def on_another_class(words: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the verdict on a run whose data are the same on another class of processor, as `other_class` says it.

    `then` and `now` are the two evaluations.
    """
    verdict = (
        f"is reproduced as far as another class of processor can ({words}): all data are the same, weights are not"
    )
    values: list[Any] = [then.get("accuracy"), now.get("accuracy"), then.get("accuracy_low"), then.get("accuracy_high")]
    if not all(isinstance(value, float) for value in values):
        return verdict
    first, second, low, high = values
    inside = "inside" if low <= second <= high else "outside"
    return f"{verdict}; accuracy {first:.1%} in the run, {second:.1%} here, {inside} its interval of {low:.1%} to {high:.1%}"


def _compare_all(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Comparison]:
    return [_compare(name, then.get(name), now.get(name)) for name in dict.fromkeys([*then, *now])]


def _compare(name: str, then: Any, now: Any) -> Comparison:
    same = _equal(then, now)
    text = "{:.10g}".format if same and isinstance(now, float) else str
    first, second = ("none" if value is None else text(value) for value in (then, now))
    return Comparison(name, first, second, same)


def _equal(then: Any, now: Any) -> bool:
    both_nan = then != then and now != now  # only NaN is not itself
    return bool(then == now or both_nan)


def _hashes(stages: Mapping[str, Stage]) -> dict[str, str]:
    """Return the hash of each path that the stages read and wrote; of a path that both have, that which was written."""
    ran = [stages[name] for name in STAGES if name in stages]
    tables = (*(stage.deps for stage in ran), *(stage.outs for stage in ran))
    return {path: md5 for table in tables for path, md5 in table.items()}
