"""Hashes of files, metrics, and values of each epoch: those of a run compared with those of its repetition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xtcav_ml.config.base import flatten
from xtcav_ml.config.paths import MODEL, STAGES
from xtcav_ml.data.predictions import PREDICTED, in_common, read_rows
from xtcav_ml.lineage.dvc_lock import Stage
from xtcav_ml.lineage.environment import CLASS
from xtcav_ml.science.two_level import of_another_seed


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


def on_another_class(
    words: str,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    seeds: Mapping[str, float] | None = None,
    changed: tuple[int, int] | None = None,
) -> str:
    """Return the verdict on a run whose data are the same on another class of processor, as `other_class` says it.

    `then` and `now` are the two evaluations, `seeds` the metrics of the run's group of seeds, if it has one, and `changed` how
    many predictions differ, and of how many.
    """
    verdict = (
        f"is reproduced as far as another class of processor can ({words}): all data are the same, weights are not"
    )
    first, second = then.get("accuracy"), now.get("accuracy")
    if isinstance(first, float) and isinstance(second, float):
        verdict += f"; accuracy {first:.1%} in the run, {second:.1%} here{_place(then, second, seeds)}"
    return verdict if changed is None else f"{verdict}; {changed[0]:,} of {changed[1]:,} predictions differ"


def _place(then: Mapping[str, Any], accuracy: float, seeds: Mapping[str, float] | None) -> str:
    """Return whether an accuracy is one that another seed might have given: by the group of seeds, else by the run's interval.

    Other last bits are another draw, as another seed is. The interval of a single run is of other shots, and says less.
    """
    interval, whose = (then.get("accuracy_low"), then.get("accuracy_high")), "its interval"
    if seeds and {"accuracy", "accuracy_sd"} <= seeds.keys():
        interval = of_another_seed(seeds["accuracy"], seeds["accuracy_sd"], int(seeds["seeds"]))
        whose = f"what its group of {seeds['seeds']:.0f} seeds gives"
    low, high = interval
    if not (isinstance(low, float) and isinstance(high, float)):
        return ""
    return f", {'inside' if low <= accuracy <= high else 'outside'} {whose}, {low:.1%} to {high:.1%}"


def changed_predictions(then: str, now: str) -> tuple[int, int] | None:
    """Return how many shots of two tables have other predicted classes, and of how many; None without classes in both.

    Raises UserError if one is no table, or they have no shot in common.
    """
    if not (then and now):
        return None
    one, other = in_common([("the run", read_rows("the run", then)), ("here", read_rows("here", now))])
    if not {PREDICTED} <= one.columns.keys() & other.columns.keys():
        return None
    pairs = list(zip(one.columns[PREDICTED], other.columns[PREDICTED], strict=True))
    return sum(first != second for first, second in pairs), len(pairs)


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
