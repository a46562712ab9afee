import base64
import json
from types import SimpleNamespace

import numpy as np
import pytest

from xtcav_ml.system.http_limits import Refused
from xtcav_ml.tracking.registry.request_body import FRAMES, inputs_of

SHAPE = (3, 4)
FRAME = np.arange(12).reshape(SHAPE).tolist()


def spec(*features):
    return SimpleNamespace(features=features, has_frames=True, preprocessing=SimpleNamespace(raw_shape=SHAPE))


def asked(inputs, *features, **more):
    return inputs_of(json.dumps({"inputs": inputs, **more}).encode(), spec(*features))


def test_frames_are_int16_as_they_were_sent():
    frames = asked([FRAME] * FRAMES, params={})
    assert (frames.shape, frames.dtype) == ((FRAMES, *SHAPE), np.int16)
    assert frames[0].tolist() == FRAME
    ends = [[[-(2**15), 2**15 - 1, 0, 1]] * 3]
    assert asked(ends).tolist() == ends


def base64_of(frame, kind="<i2"):
    return base64.b64encode(np.array(frame, kind).tobytes()).decode()


def test_a_frame_may_be_its_bytes():
    frame = [[-(2**15), 2**15 - 1, 0, 1]] * 3
    frames = asked([base64_of(frame), FRAME, base64_of(FRAME)])
    assert frames.dtype == np.int16
    assert frames.tolist() == [frame, FRAME, FRAME]


@pytest.mark.parametrize(
    "text", ["", "text", "\x00", "é", base64_of(FRAME)[:-4], base64_of(FRAME, "<i4"), "\n" + base64_of(FRAME)]
)
def test_a_text_that_is_no_frame_is_named(text):
    with pytest.raises(Refused, match=r"^frame 1: .*base64"):
        asked([FRAME, text])


def test_features_come_by_name():
    inputs = asked({"frame": [FRAME, FRAME], "gate[0]": [1, None]}, "gate[0]")
    assert inputs["frame"].shape == (2, *SHAPE)
    np.testing.assert_array_equal(inputs["gate[0]"], np.array([1, np.nan], np.float32))
    assert np.isinf(asked({"frame": [FRAME], "gate[0]": [3e38 * 1e3]}, "gate[0]")["gate[0]"]).all()


@pytest.mark.parametrize("pixel", [0.5, 1.0, True, "1", None, [], 2**15, -(2**15) - 1, 2**64, 10**30])
def test_a_pixel_that_is_no_int16_is_named(pixel):
    frame = json.loads(json.dumps(FRAME))
    frame[2][1] = pixel
    with pytest.raises(Refused, match=r"^frame 1, row 2: "):
        asked([FRAME, frame])


@pytest.mark.parametrize(
    "inputs", [[], FRAME, [FRAME] * (FRAMES + 1), [FRAME[1:]], [[[1]] * 3], {"frame": [FRAME]}, "x"]
)
def test_another_shape(inputs):
    with pytest.raises(Refused) as refused:
        asked(inputs)
    assert refused.value.status == 400


@pytest.mark.parametrize("values", [[], [1, 2], 1, ["1"], [True], [[1]], None])
def test_a_feature_of_another_kind_is_named(values):
    with pytest.raises(Refused, match=r"^gas: "):
        asked({"frame": [FRAME], "gas": values}, "gas")


@pytest.mark.parametrize("inputs", [[FRAME], {"frame": [FRAME]}, {"frame": [FRAME], "gas": [1], "other": [1]}])
def test_features_that_are_missing_or_unknown(inputs):
    with pytest.raises(Refused, match=r"^inputs: not by name"):
        asked(inputs, "gas")


def test_many_lists_are_refused_before_they_are_made():
    with pytest.raises(Refused, match="too many lists"):
        inputs_of(b"[" * 10_000, spec())
