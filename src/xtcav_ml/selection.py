"""Which shots: masks, labels, duplicates, split by groups of consecutive shots, balance.

Every decision is a function of a shot's own values and of the counts of its split, never of the order of the files: the
split of a shot follows from its group's name alone, so that adding files moves no shot, and balancing keeps
the shots whose event keys hash lowest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.errors import UserError
from xtcav_ml.params.prepare import PrepareParams, Split
from xtcav_ml.shots import EVENT_KEY

Table = Mapping[str, NDArray[np.generic]]
Indices = NDArray[np.int64]
GOLDEN = 0.6180339887498949
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Selection:
    """Rows of the table in each split, in order of their event keys, and how many were dropped for which reason."""

    splits: dict[str, Indices]
    dropped: dict[str, int]


def select(table: Table, prepare: PrepareParams) -> Selection:
    """Deal the shots of `table` (columns of equal length, one row a shot) to train, validation and test.

    Needs the columns of shots.EVENT_KEY, `run`, `run.index`, the label and those of `include` and `exclude`.
    Kept and dropped add up to the number of rows. Raises UserError if a shot stands twice with different labels, or if
    a split has fewer than `split.min_per_class` shots of a class.
    """
    label, classes, balance, split = prepare.label, prepare.classes, prepare.balance, prepare.split
    order, dropped = usable(table, prepare)
    names, ends = _deal(table["run"][order], table["run.index"][order], split)
    dropped["gap between groups"] = int(ends.sum())
    dropped["balance"] = 0
    splits = {}
    for name in SPLITS:
        members = order[(names == name) & ~ends]
        if name in balance.splits and balance.ratio is not None:
            kept = _balanced(table, members, table[label][members], len(classes), balance.ratio, split.seed)
            dropped["balance"] += len(members) - len(kept)
            members = kept
        splits[name] = members
    _require_every_class(splits, table[label], label, classes, split.min_per_class)
    return Selection(splits, dropped)


def usable(table: Table, prepare: PrepareParams) -> tuple[Indices, dict[str, int]]:
    """Return the rows to learn from, in order of their event keys, and how many others are there for which reason.

    Not the dark run, not what `include` and `exclude` leave out, not what has no label, and each shot once. Raises UserError if
    a shot stands twice with different labels.
    """
    label = prepare.label
    order = np.lexsort([table[name] for name in reversed(EVENT_KEY)]).astype(np.int64)
    dropped: dict[str, int] = {}
    if prepare.dark_run is not None:
        chosen = order[table["run"][order] != prepare.dark_run]
        dropped["dark run"] = len(order) - len(chosen)
        order = chosen
    for name, value in prepare.include.items():
        chosen = order[table[name][order] == value]
        dropped[f"{name} is not {value}"] = len(order) - len(chosen)
        order = chosen
    for name, value in prepare.exclude.items():
        chosen = order[table[name][order] != value]
        dropped[f"{name} is {value}"] = len(order) - len(chosen)
        order = chosen
    chosen = order[table[label][order] != -1]
    dropped["no label"] = len(order) - len(chosen)
    order = _without_duplicates(table, label, chosen)
    dropped["duplicates"] = len(chosen) - len(order)
    return order, dropped


def uniform_hash(seed: int, *values: object) -> float:
    """Return a number in [0, 1) which depends on nothing but the arguments, on any machine."""
    digest = hashlib.blake2b(repr((seed, *values)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _without_duplicates(table: Table, label: str, order: Indices) -> Indices:
    keys = np.stack([table[name][order].astype(np.int64) for name in EVENT_KEY], axis=1)
    repeats = np.concatenate([[False], (keys[1:] == keys[:-1]).all(axis=1)])[: len(order)]
    differs = repeats & (table[label][order] != table[label][np.roll(order, 1)])
    if differs.any():
        first = keys[differs][0].tolist()
        raise UserError(
            f"shot (seconds, nanoseconds, fiducials) = {tuple(first)}: the same shot must have the same {label} wherever "
            f"it stands, got two values ({differs.sum()} such shots); remove one of the files that hold it"
        )
    unique: Indices = order[~repeats]
    return unique


def _deal(
    runs: NDArray[np.generic], indices: NDArray[np.generic], split: Split
) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return each shot's split, and whether it lies in the gap before a group of another split."""
    blocks = indices.astype(np.int64) // split.block
    groups = {group: _split_of(group, split) for group in {*zip(runs.tolist(), blocks.tolist(), strict=True)}}
    names = np.array([groups[group] for group in zip(runs.tolist(), blocks.tolist(), strict=True)], dtype="U10")
    near_end = indices.astype(np.int64) % split.block >= split.block - split.gap
    successors = np.array(
        [_split_of((run, block + 1), split) for run, block in zip(runs.tolist(), blocks.tolist(), strict=True)],
        dtype="U10",
    )
    return names, near_end & (names != successors)


def _split_of(group: tuple[int, int], split: Split) -> str:
    """Return the split of a group (run, block): a point in [0, 1) that the group's name alone decides.

    A run's hash, and from there steps of the golden ratio: of all sequences it fills [0, 1) most evenly, so that even a
    run of eight groups has its share in every split, which independent hashes would leave to luck.
    """
    run, block = group
    position = (uniform_hash(split.seed, run) + block * GOLDEN) % 1
    if position < split.train:
        return "train"
    return "validation" if position < split.train + split.validation else "test"


def _balanced(
    table: Table, members: Indices, labels: NDArray[np.generic], classes: int, ratio: float, seed: int
) -> Indices:
    counts = np.bincount(labels.astype(np.int64), minlength=classes)
    most = int(counts.min() * ratio)
    keys = np.stack([table[name][members].astype(np.int64) for name in EVENT_KEY], axis=1).tolist()
    ranks = np.array([uniform_hash(seed, *key) for key in keys])
    keep = np.zeros(len(members), dtype=bool)
    for value in range(classes):
        of_class = np.flatnonzero(labels == value)
        keep[of_class[np.argsort(ranks[of_class], kind="stable")][:most]] = True
    return members[keep]


def _require_every_class(
    splits: Mapping[str, Indices], labels: NDArray[np.generic], label: str, classes: Sequence[str], least: int
) -> None:
    few = []
    for name, members in splits.items():
        counts = np.bincount(labels[members].astype(np.int64), minlength=len(classes))
        few += [
            f"class {value} ({classes[value]}) has {count} in {name}"
            for value, count in enumerate(counts[: len(classes)])
            if count < least
        ]
    if few:
        raise UserError(
            f"{label}: every split needs at least prepare.split.min_per_class = {least} shots of every class, but "
            f"{', '.join(few)}; add shots, or change prepare.split or prepare.balance in params.yaml"
        )
