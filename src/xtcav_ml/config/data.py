"""Section `data`: where the raw shot files are and how large their frames."""

from typing import Literal

from pydantic import Field

from xtcav_ml.config.base import Section


class DataParams(Section):
    """The folder of raw shot files: a path from the project's folder, or an absolute one."""

    raw: str = Field(min_length=1)
    bad_files: Literal["fail", "skip"]  # what to do if a file breaks a rule: stop, or leave it out and say so
    frame_shape: tuple[int, int]  # rows (energy) and columns (time) of a camera frame, pixels
