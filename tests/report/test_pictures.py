import base64
import io

import numpy as np
from PIL import Image

from tests.report.test_markup import Reader
from xtcav_ml.report.pictures import picture


def test_a_picture_is_inside_the_page_on_white_and_keeps_its_size(tmp_path):
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[:15] = (200, 30, 40, 255)  # below it nothing is drawn: transparent
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (image,) = Reader(picture(tmp_path / "a.png", "what <it> shows")).named("img")
    assert (image["alt"], image["width"], image["height"]) == ("what <it> shows", "40", "30")
    kind, _, packed = image["src"].partition(";base64,")
    assert kind == "data:image/webp"
    with Image.open(io.BytesIO(base64.b64decode(packed))) as inside:
        seen = np.asarray(inside.convert("RGB")).astype(int)
    assert np.abs(seen[2:13, 2:38] - [200, 30, 40]).max() < 12
    assert seen[20:, 2:38].min() > 245
