"""JSON in one line that ends with its own CRC-32: a flipped bit is then an error, never another number."""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

CHECKED = re.compile(r'(\{.+), "crc32": "([0-9a-f]{8})"\}')


def line(values: Mapping[str, Any]) -> str:
    """Return values as JSON with their checksum, without an end of line."""
    text = json.dumps(values)
    return f'{text[:-1]}, "crc32": "{zlib.crc32(text.encode()):08x}"}}'


def parse(text: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a line, and whether it has a checksum: those of earlier versions have none.

    Raises ValueError if it is damaged, or no mapping.
    """
    parts = CHECKED.fullmatch(text)
    if parts is not None:
        text = parts[1] + "}"
        if f"{zlib.crc32(text.encode()):08x}" != parts[2]:
            raise ValueError("a line that differs from its CRC-32")
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("a line nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError(f"a line with a {type(values).__name__}")
    return values, parts is not None
