"""history.jsonl: the results of a training, a line of JSON an epoch, each with its checksum."""

from collections.abc import Mapping
from pathlib import Path

from xtcav_ml.system import lines
from xtcav_ml.system.errors import UserError


def line_of(epoch: int, values: Mapping[str, float]) -> str:
    """Return the line of an epoch (from 1)."""
    return lines.line({"epoch": epoch, **values}) + "\n"


def read_history(path: Path) -> list[dict[str, float]]:
    """Return a row an epoch: its number, as `epoch`, and its values. Raises UserError if the file is damaged."""
    rows = []
    try:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            row, _ = lines.parse(text)
            if not all(type(value) in (int, float) for value in row.values()) or row.get("epoch") != number:
                raise ValueError(f"other than numbers of epoch {number} in line {number}")
            rows.append(row)
        if not rows:
            raise ValueError("no line")
    except ValueError as error:
        raise UserError(
            f"{path}: damaged (found {str(error)!r}, expected a line for each epoch of `xtcav train`). Fix: remove it, then "
            "run `make repro`"
        ) from None
    return rows
