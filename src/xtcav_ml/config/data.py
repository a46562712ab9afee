"""Section `data`: where the raw shot files are and how large their frames."""

from typing import Annotated, Literal

from pydantic import Field

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.schema import LARGEST_SIDE

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class DataParams(Section):
    """The folder of raw shot files: a path from the project's folder, or an absolute one."""

    raw: str = parameter("folder of raw shot files; with one of your own nothing is simulated", min_length=1)
    bad_files: Literal["fail", "skip"] = parameter("`fail` stops at a bad file, `skip` leaves it out and counts it")
    layout: Layout = Field(default=Layout())
    frame_shape: tuple[Side, Side] = parameter("rows (energy) and columns (time) of a camera frame", "pixels")
