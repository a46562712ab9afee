"""Section `data`: where the raw shot files are and how large their frames."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.schema import LARGEST_SIDE, NO_FRAME
from xtcav_ml.config.simulate import CalibrationParams

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class Axes(Section):
    """Calibration of a frame's axes, for pictures; negative where time or energy falls with the number."""

    time_per_column: float = parameter("time from one column to the next", "fs", ge=-1000, le=1000)
    energy_per_row: float = parameter("energy from one row to the next", "MeV", ge=-1000, le=1000)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for name in type(self).model_fields:
            if not getattr(self, name):
                raise ValueError(
                    f"{name}: columns or rows at one place (found 0, expected another number). Fix: correct it"
                )
        return self


class DataParams(Section):
    """The folder of raw shot files: a path from the project's folder, or an absolute one."""

    raw: str = parameter("folder of raw shot files; with one of your own nothing is simulated", min_length=1)
    bad_files: Literal["fail", "skip"] = parameter("`fail` stops at a bad file, `skip` leaves it out and counts it")
    layout: Layout = Field(default=Layout())
    frame_shape: tuple[Side, Side] | None = parameter(
        "rows (energy) and columns (time) of a camera frame; null: none are read", "pixels"
    )
    axes: Axes | None = parameter("calibration of the axes of pictures; null: pixels", default=None)

    @property
    def raw_shape(self) -> tuple[int, int]:
        """Return rows and columns of a raw frame; NO_FRAME if none are read."""
        return self.frame_shape or NO_FRAME

    @property
    def simulated(self) -> bool:
        """Return whether section `simulate` made the files."""
        return self.raw == str(SIMULATED)

    def calibration(self, simulated: CalibrationParams) -> Axes | None:
        """Return the calibration of the frames; that of the simulation, `simulated`, where these are simulated."""
        if self.axes is None and self.simulated:
            return Axes(time_per_column=simulated.time_per_column, energy_per_row=simulated.energy_per_row)
        return self.axes
