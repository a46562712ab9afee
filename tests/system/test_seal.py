import pytest

from xtcav_ml.system import seal
from xtcav_ml.system.errors import UserError

CONTENT = bytes(range(200))
PART = (50, 30)


@pytest.fixture
def sealed(tmp_path):
    """A file that is sealed but for its bytes 50 to 79."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT + seal.ROOM)
    seal.seal(path, PART)
    return path


def test_content_stays_and_the_part_that_is_left_out_is_told(sealed):
    assert sealed.read_bytes()[:200] == CONTENT
    assert sealed.stat().st_size == 200 + seal.LENGTH
    assert seal.left_out(sealed) == seal.require_sealed(sealed, "x") == PART


def test_every_flipped_bit_outside_that_part_is_found_and_none_in_it(sealed):
    whole = sealed.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        sealed.write_bytes(changed)
        assert (seal.left_out(sealed) == PART) == (50 <= position < 80), position


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"\0" + b, lambda b: b[:10], lambda b: b""]
)
def test_bytes_that_come_or_go_are_found(sealed, change):
    sealed.write_bytes(change(sealed.read_bytes()))
    assert seal.left_out(sealed) is None
    with pytest.raises(UserError, match=r"file: damaged.*Fix: make it again$"):
        seal.require_sealed(sealed, "make it again")


def test_the_line_is_of_one_part_alone_even_where_another_leaves_out_the_same_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(200) + seal.ROOM)
    seal.seal(path, PART)
    path.write_bytes(path.read_bytes().replace(b"%016x+%016x" % PART, b"%016x+%016x" % (60, 30)))
    assert seal.left_out(path) is None


def test_a_file_of_several_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(seal, "PIECE", 7)
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(CONTENT + seal.ROOM)
    seal.seal(first, PART)
    monkeypatch.undo()
    second.write_bytes(CONTENT + seal.ROOM)
    seal.seal(second, PART)
    assert first.read_bytes() == second.read_bytes()
