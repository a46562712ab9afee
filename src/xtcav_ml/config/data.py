"""Section `data`: where the raw shot files are and how large their frames."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.layout import Layout
from xtcav_ml.config.paths import SIMULATED
from xtcav_ml.config.schema import LARGEST_SIDE, NO_FRAME
from xtcav_ml.config.simulate import CalibrationParams

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class Axes(Section):
    """The steps of a frame's axes; negative where time or energy falls with the number."""

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


def _kind(axes: Any) -> str:
    """Return which of the two is meant, so that an error names what is wrong with that one alone."""
    names = axes if isinstance(axes, dict) else dict(axes) if isinstance(axes, Section) else {}
    return "CalibrationParams" if set(names) & set(CalibrationParams.model_fields) else "Axes"


Calibration = Annotated[
    Annotated[Axes, Tag("Axes")] | Annotated[CalibrationParams, Tag("CalibrationParams")],
    Discriminator(_kind),
]
"""Steps that are the same in all frames, or the constants from which, with the RF of a shot, those of its frame follow."""


class DataParams(Section):
    """The folder of raw shot files: a path from the project's folder, or an absolute one."""

    raw: str = parameter("folder of raw shot files; with one of your own nothing is simulated", min_length=1)
    bad_files: Literal["fail", "skip"] = parameter("`fail` stops at a bad file, `skip` leaves it out and counts it")
    layout: Layout = Field(default=Layout())
    frame_shape: tuple[Side, Side] | None = parameter(
        "rows (energy) and columns (time) of a camera frame; null: none are read", "pixels"
    )
    axes: Calibration | None = parameter(
        "calibration of the axes of pictures, as steps or as the six constants of XTCAV; null: pixels", default=None
    )

    @property
    def raw_shape(self) -> tuple[int, int]:
        """Return rows and columns of a raw frame; NO_FRAME if none are read."""
        return self.frame_shape or NO_FRAME

    @property
    def simulated(self) -> bool:
        """Return whether section `simulate` made the files."""
        return self.raw == str(SIMULATED)

    def calibration(self, simulated: CalibrationParams) -> Axes | CalibrationParams | None:
        """Return the calibration of the frames; that of the simulation, `simulated`, where these are simulated."""
        return simulated if self.axes is None and self.simulated else self.axes
