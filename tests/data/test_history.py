import contextlib
import json

import pytest

from xtcav_ml.data.history import line_of, read_history
from xtcav_ml.system.errors import UserError

ROWS = [{"val_loss": 0.1 + 0.2, "gradient_cosine": -1e-9}, {"val_loss": float("nan")}]


def write(path, rows=ROWS):
    path.write_text("".join(line_of(epoch, row) for epoch, row in enumerate(rows, start=1)))
    return path


def test_rows_come_back_and_those_of_an_earlier_version_too(tmp_path):
    rows = read_history(write(tmp_path / "history.jsonl"))
    assert [list(row) for row in rows] == [["epoch", "val_loss", "gradient_cosine"], ["epoch", "val_loss"]]
    assert rows[0] == {"epoch": 1, **ROWS[0]}
    (tmp_path / "history.jsonl").write_text('{"epoch": 1, "val_loss": 0.5}\n')
    assert read_history(tmp_path / "history.jsonl") == [{"epoch": 1, "val_loss": 0.5}]


def test_no_flipped_bit_is_another_number(tmp_path):
    path = write(tmp_path / "history.jsonl", ROWS[:1])
    whole, expected = path.read_bytes(), read_history(path)
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):
            assert read_history(path) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}",
        "[]",
        "\0",
        '{"epoch": 2}',
        '{"epoch": 1, "loss": "0"}',
        '{"epoch": true}',
        "[" * 100_000,
        line_of(2, {}),
    ],
)
def test_what_is_no_history_is_one_line(tmp_path, text):
    (tmp_path / "history.jsonl").write_text(text)
    with pytest.raises(
        UserError, match=r"history\.jsonl: damaged \(found .*\)\. Fix: remove it, then run `make repro`"
    ):
        read_history(tmp_path / "history.jsonl")


def test_a_line_is_json_for_other_programs(tmp_path):
    rows = [json.loads(line) for line in write(tmp_path / "history.jsonl", ROWS[:1]).read_text().splitlines()]
    assert rows[0].keys() == {"epoch", "val_loss", "gradient_cosine", "crc32"}
