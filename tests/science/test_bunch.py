import numpy as np
import pytest

from xtcav_ml.science import bunch


def beam(shape, row, column, high=6, wide=20, level=50.0, seed=0):
    """A frame of noise with a bright ellipse of these half axes in it."""
    rows, columns = np.indices(shape)
    inside = ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 <= 1
    return np.random.default_rng(seed).normal(5, 2, shape) + level * inside


@pytest.mark.parametrize(("row", "column"), [(150, 120), (60, 250), (300, 40)])
def test_the_beam_is_found_with_its_ends(row, column):
    found = bunch.find(beam((363, 284), row, column))
    assert abs(found.row - row) <= 1
    assert abs(found.column - column) <= 1
    for reach, half in ((found.above, 6), (found.below, 6), (found.before, 20), (found.after, 20)):
        assert half - 4 <= reach <= half + 5  # to a block


def test_of_a_long_weak_tail_nothing_is_cut_off():
    frame = beam((363, 284), 200, 140)
    frame[60:200, 138:143] += 8
    assert 200 - bunch.find(frame).row + bunch.find(frame).above >= 138


NOISE = np.random.default_rng(1).normal(0, 1.5, (363, 284))


SMALL = np.log1p(np.maximum(NOISE[:90, :71] / 3, 0))


def test_the_beam_is_found_in_a_small_frame_where_most_pixels_are_0():
    frame = SMALL.copy()
    frame[18:23, 13:24] += 2
    found = bunch.find(frame)
    assert abs(found.row - 20) <= 1
    assert abs(found.column - 18) <= 1
    assert max(found.above, found.below, found.before, found.after) < 12


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 10)), NOISE + 5, np.log1p(np.maximum(NOISE, 0)), SMALL, np.zeros((1, 400))]
)
def test_without_a_beam_it_is_the_middle(frame):
    assert bunch.find(frame) == bunch.Extent(frame.shape[0] // 2, frame.shape[1] // 2, 0, 0, 0, 0)


def test_hot_pixels_and_pixels_without_a_value_are_no_beam():
    frame = beam((726, 568), 300, 250)
    rng = np.random.default_rng(2)
    frame[rng.integers(0, 726, 80), rng.integers(0, 568, 80)] += 1500
    frame[:9] = np.nan
    found = bunch.find(frame)
    assert abs(found.row - 300) <= 1
    assert abs(found.column - 250) <= 1
    assert max(found.above, found.below) < 20
    assert max(found.before, found.after) < 35
    assert not bunch.find(np.full((30, 40), np.nan)).above


def test_one_bright_pixel_is_found():
    frame = np.zeros((40, 30))
    frame[7, 21] = 1
    found = bunch.find(frame)
    assert (found.row, found.column) == (7, 21)


def test_a_cut_keeps_its_pixels_and_is_nan_beyond_the_frame():
    frame = np.arange(12.0).reshape(3, 4)
    part = bunch.cut(frame, 0, 3, (1, 2, 2, 1))
    assert part.shape == (4, 4)
    assert np.isnan(part[0]).all()
    assert np.isnan(part[:, 3]).all()
    assert part[1:, :3].tolist() == frame[:, 1:].tolist()


def test_in_the_mean_beams_lie_on_one_another():
    frames = [beam((100, 120), row, column, seed=row) for row, column in ((40, 50), (60, 70), (50, 60))]
    found = bunch.find(np.nan_to_num(bunch.mean_frame(frames, (100, 120))))
    one = bunch.find(frames[0])
    assert (found.row, found.column) == (50, 60)
    assert abs(found.before + found.after - one.before - one.after) <= 2
    assert np.isnan(bunch.mean_frame([], (4, 4))).all()


def test_smoothing_shifts_nothing_and_keeps_the_sum():
    values = np.zeros((2, 300, 200))
    values[:, 120, 90] = 3
    found = bunch.smooth(values)
    assert found.sum() == pytest.approx(6)
    assert np.unravel_index(found[1].argmax(), (300, 200)) == (120, 90)
