"""The search space as data: which of its parameters are tried beside given values of others, and section train with them.

The name of a list, as `train.model.blocks`, stands for its length: the first ones of params.yaml are kept, and the last one is
repeated. Parameters of the second block are tried only where there is one, and any only where its `when` holds.
"""

import functools
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from xtcav_ml.config.base import overridden
from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.system.errors import UserError

MOST = 64  # entries of a list

Space = Mapping[str, Range | Choices]
Values = Mapping[str, Any]
"""Values of parameters by their dotted names."""


def applied(train: TrainParams, values: Values) -> TrainParams:
    """Return section train with these values, lists of their lengths first. Raises UserError as `overridden`."""
    tree = {"train": train.model_dump(mode="json")}
    lengths = {name: value for name, value in values.items() if isinstance(_at(tree, name), list)}
    for name, length in lengths.items():
        most = MOST if _at(tree, name) else 0  # of an empty list there is nothing to repeat
        if not isinstance(length, int) or not 0 <= length <= most:
            raise UserError(
                f"{name}: no length of this list (found {length!r}, expected a whole number, at most {most}). Fix: correct it"
            )
        train = overridden(train, "train", {name: _of_length(_at(tree, name), length)})
    return overridden(train, "train", {name: value for name, value in values.items() if name not in lengths})


def values_of(train: TrainParams, space: Space) -> dict[str, Any]:
    """Return the values that section train itself has of the parameters that are tried beside each other."""
    tree, values = {"train": train.model_dump(mode="json")}, dict[str, Any]()
    for name in in_order(space):
        if is_tried(space, name, values):
            value = _at(tree, name)
            values[name] = len(value) if isinstance(value, list) else value
    return values


def inside(space: Space, values: Values) -> bool:
    """Return whether `values` lie in the search space."""
    return all(values[name] in space[name] for name in values)


def is_tried(space: Space, name: str, values: Values) -> bool:
    """Return whether a parameter is tried beside these values of the parameters before it."""
    if any(values.get(other, values) not in wanted for other, wanted in space[name].when.items()):
        return False
    return all(_index(name, owner) < values[owner] for owner in _lists(space, name) if owner in values)


def beside(space: Space, name: str, value: Any) -> dict[str, Any]:
    """Return a value of a parameter, and values of others beside which it is tried."""
    needed = {other: wanted[0] for other, wanted in space[name].when.items()}
    needed |= {owner: _longest(space[owner]) for owner in _lists(space, name)}
    values = dict[str, Any]()
    for other, its in needed.items():
        values |= beside(space, other, its)
    return {**values, name: value}


def in_order(space: Space) -> list[str]:
    """Return the names, each after those that decide whether it is tried. Raises UserError if some decide each other."""
    names, waiting = list[str](), sorted(space)
    while waiting:
        ready = [name for name in waiting if not _deciders(space, name) & set(waiting)]
        if not ready:
            raise UserError(
                f"{waiting[0]}.when: decides about itself (found {', '.join(waiting)}, expected no circle). Fix: "
                "remove one `when`"
            )
        names += ready
        waiting = [name for name in waiting if name not in ready]
    return names


def require_valid(train: TrainParams, space: Space) -> None:
    """Raise UserError if a value of the space is none of section train, or a `when` can never hold."""
    for name, values in space.items():
        if name.startswith("prepare."):
            raise UserError(
                f"{name}: decides the prepared set, which all trials share (found a parameter of prepare, expected one of "
                "train). Fix: search train.model.coarsen, train.model.standardize or train.augment instead; or change it in "
                "params.yaml, then run `make repro` and `make tune`, which starts from the trials of this search"
            )
        for other, wanted in values.when.items():
            if other not in space or space[other].size is None or not all(value in space[other] for value in wanted):
                known = f"some of {space[other].ends}" if other in space else "a parameter of tune.space"
                raise UserError(f"{name}.when.{other}: never holds (found {wanted}, expected {known}). Fix: correct it")
    for name in in_order(space):
        for value in space[name].ends:
            applied(train, beside(space, name, value))


def conditional(space: Space) -> bool:
    """Return whether some parameter is not tried with some values of others."""
    return any(_deciders(space, name) for name in space)


def combinations(space: Space) -> tuple[int, int]:
    """Return the number of combinations of all values that can be counted, and the most continuous parameters of one."""
    found = list(_counted(space))
    return sum(count for count, _ in found), max(continuous for _, continuous in found)


def described(space: Space) -> str:
    """Return in words how large the space is."""
    count, continuous = combinations(space)
    of_continuous = f", each with a continuum of {continuous} parameters" if continuous else ""
    return f"{len(space)} parameters, {count:,} combinations{of_continuous}"


def _counted(space: Space) -> Iterator[tuple[int, int]]:
    """Yield the combinations and the continuous parameters for each set of values of the parameters that decide."""
    order = in_order(space)
    deciding = [name for name in order if any(name in _deciders(space, other) for other in space)]
    seen = set[tuple[tuple[str, Any], ...]]()
    for choice in product(*(_all_values(space[name]) for name in deciding)):
        values = dict[str, Any]()
        for name, value in zip(deciding, choice, strict=True):
            if is_tried(space, name, values):
                values[name] = value
        if (key := tuple(values.items())) not in seen:
            seen.add(key)
            sizes = [space[name].size for name in order if name not in deciding and is_tried(space, name, values)]
            yield prod(size for size in sizes if size is not None), sizes.count(None)


def _all_values(values: Range | Choices) -> tuple[Any, ...]:
    if isinstance(values, Choices):
        return values.choices
    return tuple(range(int(values.low), int(values.high) + 1, values.step or 1))


def _deciders(space: Space, name: str) -> set[str]:
    """Return the parameters that decide whether one is tried."""
    return {*space[name].when, *_lists(space, name)} & set(space)


def _lists(space: Space, name: str) -> list[str]:
    """Return the lists of the space that a parameter is in."""
    return [owner for owner in space if name.startswith(f"{owner}.")]


def _longest(lengths: Range | Choices) -> int:
    """Return the greatest length of a list that is tried; 0 of what are no lengths, which `applied` refuses."""
    return max((value for value in lengths.ends if isinstance(value, int)), default=0)


def _index(name: str, owner: str) -> int:
    return int(name.removeprefix(f"{owner}.").partition(".")[0])


def _at(tree: Any, dotted: str) -> Any:
    """Return what stands at a dotted name in a tree; None if it has no such name."""

    def inner(node: Any, part: str) -> Any:
        if isinstance(node, list):
            return node[int(part)] if part.isdecimal() and len(part) < 10 and int(part) < len(node) else None
        return node.get(part) if isinstance(node, dict) else None

    return functools.reduce(inner, dotted.split("."), tree)


def _of_length(items: list[Any], length: int) -> list[Any]:
    return [*items[:length], *items[-1:] * max(length - len(items), 0)]
