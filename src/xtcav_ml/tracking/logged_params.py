"""Parameters as a run has them in MLflow, few enough for a page: a list is one value, and so is a part of the simulation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xtcav_ml.tracking.mlflow_names import storable

WHOLE = ("simulate", "signal", "tune.space")
"""Sections whose own sections are one value each: what is simulated is told by the hash of the data."""


def logged_params(sections: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of sections of params.yaml by dotted name, as text.

    Blocks of a network are columns, one value for all blocks (`train.model.blocks.kernel` is "8, 6"), and steps of the
    preprocessing a line: "subtract_dark, block_mean size 2, log".
    """
    params: dict[str, str] = {}
    for name, section in sections.items():
        if name in WHOLE and isinstance(section, Mapping):
            params |= {f"{name}.{key}": _text(value) for key, value in section.items()}
        else:
            params |= dict(_rows(section, name))
    return storable(params)


def _rows(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _rows(item, f"{name}.{key}")
    elif _are_blocks(value):
        for key in dict.fromkeys(key for block in value for key in block):
            yield f"{name}.{key}", ", ".join(_text(block.get(key, "-")) for block in value)
    else:
        yield name, _text(value)


def _are_blocks(value: Any) -> bool:
    several = isinstance(value, Sequence) and not isinstance(value, str) and bool(value)
    return several and all(isinstance(item, Mapping) and "step" not in item for item in value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        named = isinstance(value.get("step"), str)  # a step of the preprocessing, not the step of a range
        parts = [_text(item) if named and key == "step" else f"{key} {_text(item)}" for key, item in value.items()]
        return (" " if named else ", ").join(parts) or "none"
    if isinstance(value, (list, tuple)):
        inner = [f"[{_text(item)}]" if isinstance(item, (list, tuple)) else _text(item) for item in value]
        return ", ".join(inner) or "none"
    return str(value)


def run_name(train: Mapping[str, Any], experiment: str = "") -> str:
    """Return a name that says what a training is, as "lr 0.01, 8x8 6x6 kernels, seed 1", from section `train`."""
    model, optimizer = train.get("model", {}), train.get("optimizer", {})
    kernels = [block["kernel"] for block in model.get("blocks", []) if "kernel" in block]
    parts = [
        experiment or ("" if model.get("name") == "convnet" else str(model.get("name", ""))),
        f"lr {optimizer['learning_rate']:g}" if "learning_rate" in optimizer else "",
        f"{' '.join(f'{size}x{size}' for size in dict.fromkeys(kernels))} kernels" if kernels else "",
        f"seed {train['seed']}" if "seed" in train else "",
    ]
    return ", ".join(filter(None, parts)) or "training"
