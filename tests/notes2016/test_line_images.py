import numpy as np
import pytest

from xtcav_ml.notes2016 import line_images
from xtcav_ml.notes2016.experiments import Signal

SIGNAL = Signal(
    seed=3,
    size=40,
    train=100,
    validation=10,
    least_pixels=10,
    line_mean=5.0,
    line_sd=0.1,
    noise_sd=0.1,
    unit=0.0005,
)


def test_a_signal_is_one_vertical_line_and_noise_is_noise():
    images = line_images.draw_images(SIGNAL, 0, 300)
    values = images * SIGNAL.unit
    lengths = []
    for number, image in enumerate(values):
        rows, columns = np.nonzero(image > 2.5)  # 24 s.d. above the noise, 25 below the line
        if number % 2 == 0:
            assert not len(rows)
            continue
        assert len(set(columns)) == 1
        np.testing.assert_array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
        lengths.append(len(rows))
    assert 10 <= min(lengths) < 13
    assert 37 < max(lengths) <= 40
    assert len(set(np.nonzero(values[1::2] > 2.5)[2])) == 40  # every column has its lines


def test_means_and_spreads_are_those_asked_for():
    values = line_images.draw_images(SIGNAL, 0, 400) * SIGNAL.unit
    line = values > 2.5
    assert values[line].mean() == pytest.approx(5.0, abs=0.01)
    assert values[line].std() == pytest.approx(0.1, abs=0.01)
    assert values[~line].mean() == pytest.approx(0.0, abs=0.001)
    assert values[~line].std() == pytest.approx(0.1, abs=0.001)


def test_an_image_depends_on_seed_and_number_alone():
    whole = line_images.draw_images(SIGNAL, 0, 20)
    np.testing.assert_array_equal(line_images.draw_images(SIGNAL, 13, 4), whole[13:17])
    assert len({image.tobytes() for image in whole}) == 20
    assert (line_images.draw_images(SIGNAL.model_copy(update={"seed": 4}), 0, 20) != whole).any(axis=(1, 2)).all()
