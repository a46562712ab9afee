"""Section `simulate`: everything that decides what the simulated shots look like.

Pairs named [low, high] are the ends of a uniform distribution. Pairs for the two colours say so.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from xtcav_ml.config.base import Section
from xtcav_ml.config.peaks import PeakRule
from xtcav_ml.config.schema import CHANNELS, FRAME_SHAPE, SAMPLES


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("must be [low, high] with low <= high")
    return value


Positive = Annotated[float, Field(gt=0, le=1e4)]
Spread = Annotated[float, Field(ge=0, le=1e4)]
Energy = Annotated[float, Field(ge=-100, le=100)]
Shift = Annotated[float, Field(ge=-20, le=20)]
Loss = Annotated[float, Field(gt=0, le=60)]
LogGain = Annotated[float, Field(ge=-50, le=50)]
LogFall = Annotated[float, Field(ge=0, le=20)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Volts = Annotated[float, Field(ge=-10, le=10)]
VoltRange = Annotated[tuple[Volts, Volts], AfterValidator(_ascending)]
EnergyRange = Annotated[tuple[Energy, Energy], AfterValidator(_ascending)]
SpreadRange = Annotated[tuple[Spread, Spread], AfterValidator(_ascending)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
HalfDurations = Annotated[float, Field(ge=-1, le=1)]
Place = Annotated[tuple[HalfDurations, HalfDurations], AfterValidator(_ascending)]
Shots = Annotated[int, Field(ge=0, le=10_000_000)]


class AxesParams(Section):
    """Calibration of the frame's axes."""

    time_per_column: float = Field(ge=0.1, le=10, description="fs per column")
    energy_per_row: float = Field(ge=0.01, le=2, description="MeV per row; energy grows with the row number")


class BunchParams(Section):
    """The electron bunch before it lases."""

    l3_energy: float = Field(ge=1000, le=20_000, description="nominal L3 energy, MeV; lies on the frame's middle row")
    l3_jitter: float = Field(ge=0, le=20, description="shot-to-shot jitter of the L3 energy, MeV r.m.s.")
    charge: PositiveRange = Field(description="pC")
    duration: PositiveRange = Field(description="full width at half maximum without the horns, fs")
    edge: float = Field(gt=0, le=0.5, description="rise of the current at both ends, part of the duration")
    horn_height: SpreadRange = Field(
        description="current of a horn over that of the plateau; the same range at both ends"
    )
    horn_width: float = Field(gt=0, le=0.5, description="r.m.s. width of a horn, part of the duration")
    chirp: EnergyRange = Field(description="energy of the head less that of the tail, MeV")
    curvature: EnergyRange = Field(description="energy of the ends less that of the middle, MeV")
    slice_spread: PositiveRange = Field(description="slice energy spread before lasing, MeV r.m.s.")
    missing: Fraction = Field(description="part of the shots without beam")


class LasingParams(Section):
    """Two colours, each lasing in a slice of the bunch of its own, as in self-amplified spontaneous emission.

    The colours' gains G share one log-normal fluctuation (beam current, orbit) and each falls off on both sides of
    its own resonance, by a Gaussian of a normal detuning. The mean energy loss in the slice is `saturated_loss` x
    G / (1 + G), times the mean of independent exponential powers, one a spike: so pulse energies follow a gamma
    distribution.
    """

    centre: tuple[Place, Place] = Field(description="of each colour's slice, half durations from the bunch's middle")
    duration: PositiveRange = Field(description="length of a slice, fs")
    spike: float = Field(gt=0, le=20, description="length of a spike, FWHM, fs; one every half length")
    saturated_loss: tuple[Loss, Loss] = Field(description="mean energy loss of each colour at saturation, MeV")
    log_gain: tuple[LogGain, LogGain] = Field(description="mean of ln G of each colour on resonance")
    log_gain_spread: float = Field(ge=0, le=20, description="r.m.s. of ln G, common to the colours")
    detuning_fall: tuple[LogFall, LogFall] = Field(
        description="fall of ln G of each colour off resonance by one r.m.s."
    )
    spread_growth: float = Field(ge=0, le=5, description="energy spread added in quadrature, MeV r.m.s. per MeV lost")


class CameraParams(Section):
    """From charge density to a 12-bit frame."""

    resolution: tuple[Positive, Positive] = Field(description="r.m.s. width of a point, rows and columns")
    position_jitter: tuple[Spread, Spread] = Field(description="of the beam on the screen, rows and columns r.m.s.")
    response: float = Field(gt=0, le=1e7, description="ADU per pC")
    photoelectrons: float = Field(gt=0, le=1e4, description="detected quanta per ADU; sets the shot noise")
    pedestal: float = Field(ge=0, le=2000, description="mean dark level, ADU")
    pixel_pattern: Spread = Field(description="fixed r.m.s. of the dark level from pixel to pixel, ADU")
    column_pattern: Spread = Field(description="fixed r.m.s. of the dark level from column to column, ADU")
    hot_pixels: Fraction = Field(description="part of the pixels that are hot")
    hot_level: PositiveRange = Field(description="dark level of a hot pixel above the pedestal, ADU")
    read_noise: Spread = Field(description="ADU r.m.s.")
    saturation: int = Field(gt=0, le=32767, description="largest ADU; 4095 for 12 bits")


class DigitizerParams(Section):
    """From pulse energies to 16 waveforms. Triples are in the order t0, t1, t2."""

    electrons: tuple[Positive, Positive, Positive] = Field(
        description="mean electrons in a channel per uJ: t0 of both colours, t1 of the first, t2 of the second"
    )
    electron_height: float = Field(gt=0, le=10, description="height of one electron's signal, V")
    position: tuple[Positive, Positive, Positive] = Field(description="of the peak at the nominal L3 energy, samples")
    shift: tuple[Shift, Shift, Shift] = Field(description="of the peak, samples per MeV of L3 energy")
    position_jitter: Spread = Field(description="of t1 and t2, samples r.m.s.")
    rise: float = Field(gt=0, le=50, description="time from foot to top of a peak, samples")
    anisotropy: float = Field(ge=-1, le=2, description="beta of the photo-electrons' angular distribution; t0 has none")
    noise: float = Field(gt=0, le=10, description="independent baseline noise, V r.m.s.")
    common_noise: Spread = Field(description="baseline noise shared by all channels, V r.m.s.")
    gain_spread: float = Field(ge=0, le=1, description="r.m.s. of ln of the channels' gains, fixed")
    drooping_channels: tuple[Annotated[int, Field(ge=0, lt=CHANNELS)], ...] = Field(description="counted from 0")
    droop: VoltRange = Field(description="fall of the voltage from first to last sample on those channels, V")

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        if max(self.position) >= SAMPLES:
            raise ValueError(f"position must be below {SAMPLES} samples, got {list(self.position)}; move the peak")
        return self


class SimulateParams(Section):
    """Section `simulate`."""

    seed: int = Field(ge=0, lt=2**32)
    experiment: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="first part of the file names")
    shots_per_file: int = Field(ge=1, le=10_000)
    first_run: int = Field(ge=1, le=9000, description="the dark run; the run without lasing and the lasing runs follow")
    dark_shots: Shots
    no_lasing_shots: Shots
    lasing_shots: tuple[Shots, ...] = Field(max_length=900, description="one number a run")
    first_second: int = Field(ge=0, lt=2**32, description="time of the dark run's first shot, s since 1970")
    run_spacing: int = Field(ge=1, le=86_400, description="time from the start of one run to that of the next, s")
    repetition_rate: int = Field(ge=1, le=120, description="shots per second, Hz; a divisor of 360")
    axes: AxesParams
    bunch: BunchParams
    lasing: LasingParams
    camera: CameraParams
    digitizer: DigitizerParams
    rule: PeakRule

    @property
    def runs(self) -> dict[int, int]:
        """Shots of each run by run number: dark, no lasing, lasing. Runs of 0 shots are left out."""
        shots = (self.dark_shots, self.no_lasing_shots, *self.lasing_shots)
        return {self.first_run + offset: count for offset, count in enumerate(shots) if count}

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        shots = (self.dark_shots, self.no_lasing_shots, *self.lasing_shots)
        if not sum(shots):
            raise ValueError("dark_shots, no_lasing_shots or lasing_shots must be at least 1, all are 0; raise one")
        if 360 % self.repetition_rate:
            raise ValueError(f"repetition_rate must divide 360, got {self.repetition_rate}; take 120, 60, 30 or 10")
        # Event keys stay unique as long as no run reaches into the next.
        longest = self.run_spacing * self.repetition_rate
        if max(shots) > longest:
            raise ValueError(
                f"a run has at most run_spacing x repetition_rate = {longest} shots, got {max(shots)}; raise it"
            )
        return self

    @model_validator(mode="after")
    def _check_beam_fits(self) -> Self:
        columns = self.bunch.duration[1] * (1 + 4 * self.bunch.edge) / self.axes.time_per_column
        if columns > FRAME_SHAPE[1]:
            raise ValueError(
                f"the longest bunch must fit in {FRAME_SHAPE[1]} columns, bunch.duration {self.bunch.duration[1]} fs "
                f"takes {columns:.0f}; shorten it or raise axes.time_per_column"
            )
        return self
