"""Section `data`: where the raw shot files are and how large their frames."""

from typing import Annotated, Literal

from pydantic import Field

from xtcav_ml.config.base import Section
from xtcav_ml.config.schema import LARGEST_SIDE

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class DataParams(Section):
    """The folder of raw shot files: a path from the project's folder, or an absolute one."""

    raw: str = Field(min_length=1)
    bad_files: Literal["fail", "skip"]  # what to do if a file breaks a rule: stop, or leave it out and say so
    frame_shape: tuple[Side, Side]  # rows (energy) and columns (time) of a camera frame, pixels
