"""search.json, of tune: all that the pictures and the page of a search show."""

import dataclasses
import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from xtcav_ml.science.search import Search
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import reading

CURE = "remove it, then run `make tune`, which writes it again"


def write(path: Path, found: Search) -> None:
    """Write a search; parameters stay in their order."""
    with atomic.replacing(path) as temporary:
        text = json.dumps(dataclasses.asdict(found), indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Search:
    """Return the search that was written. Raises UserError if the file is missing or damaged."""
    with reading(path, "JSON as `xtcav tune` writes it", CURE):
        try:
            return TypeAdapter(Search).validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}") from None
