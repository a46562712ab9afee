"""Moved frames are the frame moved, and brighter ones what the camera would have given for more light."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from xtcav_ml.config.prepare import Pixels, Step
from xtcav_ml.config.train import Augment
from xtcav_ml.learning import augment
from xtcav_ml.science.images import Dark, Preprocessing

SHAPE = (12, 10)
INT16 = Pixels(dtype="int16", quantum=0.0005)


def preprocessing(*steps, pixels=INT16):
    chosen = TypeAdapter(tuple[Step, ...]).validate_python([{"step": step} for step in steps])
    return Preprocessing(chosen, pixels, SHAPE, Dark(np.full(SHAPE, 100, np.float32), np.ones(SHAPE, np.float32)))


def test_a_frame_moves_by_whole_pixels_and_its_edge_is_mirrored():
    frame = np.arange(120).reshape(SHAPE)
    rows, columns = augment.shifted(SHAPE, 2, -3)
    moved = frame[rows][:, columns]
    np.testing.assert_array_equal(moved[2:, :-3], frame[:-2, 3:])
    np.testing.assert_array_equal(moved[:2, :-3], frame[2:0:-1, 3:])
    np.testing.assert_array_equal(augment.shifted(SHAPE, 0, 0)[1], np.arange(SHAPE[1]))


@given(st.integers(1, 40), st.integers(-200, 200))
def test_no_shift_leads_out_of_the_frame_and_each_is_a_mirror_image(side, by):
    (places,) = augment.shifted((side,), by)
    if side > 1:
        reflected = np.pad(np.arange(side), 200, mode="reflect")
        np.testing.assert_array_equal(places, reflected[200 - by : 200 - by + side])
    else:
        assert places.tolist() == [0]


@pytest.mark.parametrize("shift", [(3000, 0), (0, 3000), (11, 9)])
def test_a_shift_shows_nothing_but_the_frame(shift):
    made = preprocessing("subtract_dark", "log")
    stored = np.full((200, *SHAPE), 7, np.int16)
    found = augment.Augmentation(Augment(shift=shift), made).apply(stored, np.random.default_rng(0))
    assert (found == 7).all()


@pytest.mark.parametrize("pixels", [INT16, Pixels(dtype="float32", quantum=None)])
@pytest.mark.parametrize("steps", [("subtract_dark", "log"), ("subtract_dark",)])
def test_more_light_gives_what_the_camera_would_have_given(steps, pixels):
    made = preprocessing(
        *steps, pixels=pixels if steps[-1] == "log" else pixels.model_copy(update={"quantum": pixels.quantum and 0.5})
    )
    light = np.random.default_rng(0).uniform(0, 500, (1, *SHAPE)).round()
    stored, brighter = (made.prepare((100 + gain * light).astype(np.int16)) for gain in (1, 2))
    unmoved = SimpleNamespace(
        integers=lambda low, high, shape: np.zeros(shape, np.int64), normal=lambda size: np.ones(size)
    )
    frames = augment.Augmentation(Augment(gain=np.log(2)), made).apply(stored, unmoved)
    assert frames.dtype == stored.dtype
    np.testing.assert_allclose(made.floats(frames), made.floats(brighter), atol=2.1 * made.unit)


def test_shifts_and_gains_are_as_said_and_follow_the_seed_alone():
    made = preprocessing("subtract_dark", "log")
    frame = np.full(SHAPE, 100, np.int16)
    frame[6, 5] = 1100
    stored = np.repeat(made.prepare(frame[np.newaxis]), 2000, axis=0)
    varied = augment.Augmentation(Augment(shift=(3, 1), gain=0.1), made)
    found = varied.apply(stored, np.random.default_rng(1))
    rows, columns = np.divmod(found.reshape(len(found), -1).argmax(axis=1), SHAPE[1])
    assert set(rows - 6) == set(range(-3, 4))
    assert set(columns - 5) == {-1, 0, 1}
    light = np.log(np.expm1(made.floats(found).max(axis=(1, 2))) / 1000)
    assert light.std() == pytest.approx(0.1, rel=0.05)
    assert abs(light.mean()) < 0.01
    np.testing.assert_array_equal(varied.apply(stored, np.random.default_rng(1)), found)
    assert (varied.apply(stored, np.random.default_rng(2)) != found).any()
