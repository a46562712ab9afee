"""Pictures of files, inside the page."""

import base64
import io
from pathlib import Path

from PIL import Image

from xtcav_ml.report.markup import Markup, element

QUALITY = 85
"""Of WebP, which makes a sheet of frames ten times smaller; the file beside the page has every bit."""


def picture(path: Path, alt: str) -> Markup:
    """Return the picture in file `path`, as it is on white paper, in words `alt`."""
    with Image.open(path) as image:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        packed = io.BytesIO()
        paper.convert("RGB").save(packed, "WEBP", quality=QUALITY, method=2)
        width, height = image.size
    source = "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()
    return element("img", src=source, alt=alt, width=width, height=height, class_="paper")
