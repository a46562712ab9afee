import json

import pytest

from xtcav_ml.system import lines

VALUES = {"a": 1, "b": [1.5, None], "c": "ü\n"}


def test_a_line_is_json_of_its_values_and_is_read_as_them():
    text = lines.line(VALUES)
    assert "\n" not in text
    assert {name: value for name, value in json.loads(text).items() if name != "crc32"} == VALUES
    assert lines.parse(text) == (VALUES, True)


def test_every_flipped_bit_is_an_error_or_no_checksum():
    """What is not taken for a line with a checksum is one of an earlier version, which the caller refuses among others."""
    content = lines.line(VALUES).encode()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            values, checked = lines.parse(changed.decode())
        except ValueError:
            continue
        assert not checked or values == VALUES


def test_a_changed_value_is_an_error():
    with pytest.raises(ValueError, match="CRC-32"):
        lines.parse(lines.line(VALUES).replace("1.5", "1.6"))


def test_lines_of_earlier_versions_have_none():
    assert lines.parse('{"a": 1}') == ({"a": 1}, False)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"a"', "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_mapping_is_an_error(text):
    with pytest.raises(ValueError, match=r"[a-z]"):
        lines.parse(text)
