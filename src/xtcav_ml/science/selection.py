"""Selection of shots: masks, labels, duplicates, split by groups of shots, balance.

It depends on a shot's own values and on the counts of its split, never on the order of the files: the split follows from
the name of the shot's group, so that adding files moves no shot, and balancing keeps the shots whose event keys hash lowest.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.prepare import PrepareParams, Split
from xtcav_ml.config.schema import EVENT_KEY, FILE
from xtcav_ml.system.errors import UserError

Table = Mapping[str, NDArray[np.generic]]
Indices = NDArray[np.int64]
GOLDEN = 0.6180339887498949
SPLITS = ("train", "validation", "test")
SPLIT_NAME = "U10"


@dataclass(frozen=True)
class Selection:
    """Rows of the table in each split, in order of their event keys, and the number of dropped ones by reason."""

    splits: dict[str, Indices]
    dropped: dict[str, int]


def in_words(dropped: Mapping[str, int]) -> str:
    """Return numbers of dropped rows by reason in words."""
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count) or "none"


def select(table: Table, prepare: PrepareParams) -> Selection:
    """Deal the shots of `table` (columns of equal length, one row a shot) to train, validation and test.

    Needs the columns of schema.EVENT_KEY, `run`, `run.index`, FILE, and what `prepare.learned` and `chosen_by` name.
    Kept and dropped add up to the number of rows. Raises UserError if a shot is repeated with different values, or if a
    split has fewer than `split.min_per_class` shots of a class or of a number to learn.
    """
    label, classes, balance, split = prepare.label, prepare.classes, prepare.balance, prepare.split
    order, dropped = usable(table, prepare)
    names, ends = _deal(table, order, split)
    dropped["gap between groups"] = int(ends.sum())
    dropped["balance"] = 0
    splits = {name: order[(names == name) & ~ends] for name in SPLITS}
    _require_enough(splits, table, prepare)  # before a class without shots leaves none of the others
    caps = {str(name): count for name, count in balance.most.items()}
    for name, members in splits.items():
        ratio, most = balance.ratio if name in balance.splits else None, caps.get(name)
        if label is not None and (ratio is not None or most is not None):
            kept = _balanced(table, members, table[label][members], len(classes), ratio, most, split.seed)
            dropped["balance"] += len(members) - len(kept)
            splits[name] = kept
    _require_enough(splits, table, prepare)
    return Selection(splits, dropped)


def usable(table: Table, prepare: PrepareParams) -> tuple[Indices, dict[str, int]]:
    """Return the rows to learn from, in order of their event keys, and the number of the others by reason.

    Left out are rows without an event key (-1), the dark run, shots that `include`, `exclude` and `within` leave out, that have
    no label or none of the numbers to learn, or a feature that is not finite, and repetitions. Raises UserError if a shot is
    repeated with different values.
    """
    order = np.arange(len(table["run"]))
    dropped: dict[str, int] = {}

    def keep(which: NDArray[np.bool_], reason: str) -> None:
        nonlocal order
        dropped[reason] = int(len(order) - which.sum())
        order = order[which]

    first = unique(table, [*prepare.learned, *prepare.chosen_by])
    if len(rows := keyed(table)) < len(order):
        keep(np.isin(order, rows), "no event key")
    if prepare.dark_run is not None:
        keep(table["run"][order] != prepare.dark_run, "dark run")
    for name, value in prepare.include.items():
        keep(table[name][order] == value, f"{name} is not {value}")
    for name, value in prepare.exclude.items():
        keep(table[name][order] != value, f"{name} is {value}")
    for name, (low, high) in prepare.within.items():
        values = table[name][order].astype(np.float64)  # not of NaN
        keep((low <= values) & (values <= high), f"{name} is not within {low:g} to {high:g}")
    if prepare.label is not None:
        keep(table[prepare.label][order] != -1, "no label")
    for name in prepare.features:
        keep(np.isfinite(table[name][order].astype(np.float64)), f"{name} is not finite")
    if prepare.regression and prepare.label is None:
        numbers = [np.isfinite(table[name][order].astype(np.float64)) for name in prepare.regression]
        keep(np.logical_or.reduce(numbers), "no number to learn")
    keep(np.isin(order, first), "duplicates")
    return order[_by_key(table, order)], dropped


def unique(table: Table, names: Sequence[str]) -> Indices:
    """Return one row of each shot: of a repeated one, that whose file comes first in the alphabet.

    Raises UserError if the columns `names`, `run` or `run.index` of the same shot differ.
    """
    order, same = _repeats(table)
    for name in dict.fromkeys((*names, "run", "run.index")):
        values, before = table[name][order[1:]], table[name][order[:-1]]
        differs = same & (values != before) & ((values == values) | (before == before))  # NaN is the same as NaN
        if differs.any():
            one, other = order[:-1][differs][0], order[1:][differs][0]
            raise UserError(
                f"{table[FILE][one]} and {table[FILE][other]}: {name}: shot {event_key(table, one)} differs between the files "
                f"(found {table[name][one]} and {table[name][other]}, {differs.sum()} such shots, expected equal values). Fix: "
                "remove one of the files"
            )
    return np.asarray(order[np.concatenate([[True], ~same])[: len(order)]])


def duplicates(table: Table) -> list[tuple[int, int]]:
    """Return pairs of rows, one after the other in the order of their files, that hold the same shot."""
    order, same = _repeats(table)
    return list(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))


def event_key(table: Table, row: int) -> str:
    """Return the name of a shot in messages."""
    return f"(seconds, nanoseconds, fiducials) = ({', '.join(str(table[name][row]) for name in EVENT_KEY)})"


def keyed(table: Table) -> Indices:
    """Return the rows that have an event key; others hold no shot."""
    return np.flatnonzero(table[EVENT_KEY[0]] != -1)


def _by_key(table: Table, order: Indices) -> Indices:
    """Return the indices that sort `order` by event key, then by file name."""
    return np.lexsort([table[FILE][order], *(table[name][order] for name in reversed(EVENT_KEY))]).astype(np.int64)


def _repeats(table: Table) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the rows with a key in order of these, and whether each but the first is the same shot as the one before it."""
    order = keyed(table)
    order = order[_by_key(table, order)]
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for name in EVENT_KEY:
        same &= table[name][order[1:]] == table[name][order[:-1]]
    return order, same


def uniform_hash(seed: int, *values: object) -> float:
    """Return a number in [0, 1) that depends on the arguments alone, on any machine."""
    digest = hashlib.blake2b(repr((seed, *values)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _deal(table: Table, order: Indices, split: Split) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return the split of each row of `order`, and whether it lies in the gap before a group of another split."""
    runs, indices = table["run"][order].astype(np.int64), table["run.index"][order].astype(np.int64)
    if split.by == "run":
        return _splits_of([(0, run) for run in runs.tolist()], split), np.zeros(len(order), dtype=bool)
    if split.by == "file":
        return _deal_files(table, order, split)
    blocks = indices // split.block
    names = _splits_of(zip(runs.tolist(), blocks.tolist(), strict=True), split)
    successors = _splits_of(zip(runs.tolist(), (blocks + 1).tolist(), strict=True), split)
    near_end = indices % split.block >= split.block - split.gap
    return names, near_end & (names != successors)


def _deal_files(table: Table, order: Indices, split: Split) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Deal whole files, and drop the last `gap` shots of every run in each, since a file that follows may be added.

    The key of its first shot identifies a file, so that a copy under another name lies in the same split. Raises UserError
    if a shot is in files of different splits.
    """
    by_key = keyed(table)
    by_key = by_key[_by_key(table, by_key)]
    files, starts = np.unique(table[FILE][by_key], return_index=True)
    first = np.stack([table[name][by_key[starts]].astype(np.int64) for name in EVENT_KEY], axis=1).tolist()
    homes = np.array([_named(uniform_hash(split.seed, *key), split) for key in first], dtype=SPLIT_NAME)
    number = np.searchsorted(files, table[FILE])
    for row, other in duplicates(table):
        if homes[number[row]] != homes[number[other]]:
            raise UserError(
                f"prepare.split.by: file needs each shot in one file (found shot {event_key(table, row)} in {table[FILE][row]} "
                f"and {table[FILE][other]}, expected it in one). Fix: remove one of them, or split by block or run"
            )
    runs, group = np.unique(np.stack([number, table["run"].astype(np.int64)]), axis=1, return_inverse=True)
    last = np.full(runs.shape[1], -1)
    np.maximum.at(last, group, table["run.index"].astype(np.int64))
    near_end = table["run.index"].astype(np.int64) > last[group] - split.gap
    return homes[number[order]], near_end[order]


def _splits_of(groups: Iterable[tuple[int, int]], split: Split) -> NDArray[np.str_]:
    """Return the split of each group (start, step): a point in [0, 1) that the group's name alone decides.

    The sequence starts at a hash and takes steps of the golden ratio, which fill [0, 1) most evenly: even a run of eight
    blocks, or an experiment of eight runs, then has its share in every split. Independent hashes would leave that to luck.
    """

    @functools.cache
    def split_of(start: int, step: int) -> str:
        return _named((uniform_hash(split.seed, start) + step * GOLDEN) % 1, split)

    return np.array([split_of(*group) for group in groups], dtype=SPLIT_NAME)


def _named(position: float, split: Split) -> str:
    position = (position + split.fold * split.test) % 1
    if position < split.train:
        return "train"
    return "validation" if position < split.train + split.validation else "test"


def _balanced(
    table: Table,
    members: Indices,
    labels: NDArray[np.generic],
    classes: int,
    ratio: float | None,
    most: int | None,
    seed: int,
) -> Indices:
    """Return the members that stay: of each class at most `ratio` times the smallest class, and at most `most`."""
    counts = np.bincount(labels.astype(np.int64), minlength=classes)
    limits = [len(members) if ratio is None else int(counts.min() * ratio), len(members) if most is None else most]
    keys = np.stack([table[name][members].astype(np.int64) for name in EVENT_KEY], axis=1).tolist()
    ranks = np.array([uniform_hash(seed, *key) for key in keys])
    keep = np.zeros(len(members), dtype=bool)
    for value in range(classes):
        of_class = np.flatnonzero(labels == value)
        keep[of_class[np.argsort(ranks[of_class], kind="stable")][: min(limits)]] = True
    return members[keep]


def _require_enough(splits: Mapping[str, Indices], table: Table, prepare: PrepareParams) -> None:
    least = prepare.split.min_per_class
    few = []
    for name, members in splits.items():
        if prepare.label is not None:
            counts = np.bincount(table[prepare.label][members].astype(np.int64), minlength=len(prepare.classes))
            few += [
                f"{count} of class {value} ({prepare.classes[value]}) in {name}"
                for value, count in enumerate(counts[: len(prepare.classes)])
                if count < least
            ]
        for number in prepare.regression:
            count = int(np.isfinite(table[number][members].astype(np.float64)).sum())
            few += [f"{count} of {number} in {name}"] if count < least else []
    if few:
        raise UserError(
            f"{' and '.join(filter(None, (prepare.label, *prepare.regression)))}: too few shots in a set (found "
            f"{', '.join(few)}, expected at least prepare.split.min_per_class = {least}). Fix: add shots, or change "
            "prepare.split or prepare.balance in params.yaml"
        )
