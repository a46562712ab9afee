"""Section `simulate`: everything that decides the simulated shots.

Pairs named [low, high] are the ends of a uniform distribution. Pairs for the two colours say so.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.peaks import Channel, PeakRule
from xtcav_ml.config.schema import FRAME_SHAPE, SAMPLES


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"low is above high (found {value[0]}, expected <= {value[1]}). Fix: swap them")
    return value


Positive = Annotated[float, Field(gt=0, le=1e4)]
Triple = tuple[Positive, Positive, Positive]
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

    time_per_column: float = parameter("width of a column", "fs", ge=0.1, le=10)
    energy_per_row: float = parameter("height of a row; energy grows with the row number", "MeV", ge=0.01, le=2)


class BunchParams(Section):
    """The electron bunch before it lases."""

    l3_energy: float = parameter("nominal L3 energy; lies on the frame's middle row", "MeV", ge=1000, le=20_000)
    l3_jitter: float = parameter("jitter of the L3 energy from shot to shot", "MeV r.m.s.", ge=0, le=20)
    charge: PositiveRange = parameter("charge of the bunch", "pC")
    duration: PositiveRange = parameter("full width at half maximum without the horns", "fs")
    edge: float = parameter("rise of the current at both ends", "fraction of the duration", gt=0, le=0.5)
    horn_height: SpreadRange = parameter("current of a horn, the same range at both ends", "fraction of the plateau's")
    horn_width: float = parameter("width of a horn, r.m.s.", "fraction of the duration", gt=0, le=0.5)
    chirp: EnergyRange = parameter("energy of the head minus that of the tail", "MeV")
    curvature: EnergyRange = parameter("energy of the ends minus that of the middle", "MeV")
    slice_spread: PositiveRange = parameter("slice energy spread before lasing", "MeV r.m.s.")
    missing: Fraction = parameter("shots without beam", "fraction")


class LasingParams(Section):
    """Two colours, each lasing in a slice of the bunch of its own, as in self-amplified spontaneous emission.

    The colours' gains G share one log-normal fluctuation (beam current, orbit) and each falls off on both sides of
    its own resonance, by a Gaussian of a normal detuning. The mean energy loss in the slice is `saturated_loss` x
    G / (1 + G), times the mean of independent exponential powers, one a spike: so pulse energies follow a gamma
    distribution.
    """

    centre: tuple[Place, Place] = parameter("position of each colour's slice from the bunch's middle", "half durations")
    duration: PositiveRange = parameter("length of a slice", "fs")
    spike: float = parameter("length of a spike, full width at half maximum; one every half length", "fs", gt=0, le=20)
    saturated_loss: tuple[Loss, Loss] = parameter("mean energy loss of each colour at saturation", "MeV")
    log_gain: tuple[LogGain, LogGain] = parameter("mean of ln of the gain of each colour on resonance", "1")
    log_gain_spread: float = parameter("fluctuation of ln of the gain, common to the colours", "r.m.s.", ge=0, le=20)
    detuning_fall: tuple[LogFall, LogFall] = parameter("fall of each ln gain off resonance", "per r.m.s. detuning")
    spread_growth: float = parameter("energy spread added in quadrature", "MeV r.m.s. per MeV of loss", ge=0, le=5)


class CameraParams(Section):
    """From charge density to a 12-bit frame."""

    resolution: tuple[Positive, Positive] = parameter("width of a point, rows and columns", "pixels r.m.s.")
    position_jitter: tuple[Spread, Spread] = parameter("jitter of the beam on screen: rows, columns", "pixels r.m.s.")
    response: float = parameter("signal of the charge", "ADU per pC", gt=0, le=1e7)
    photoelectrons: float = parameter("detected quanta; they set the shot noise", "per ADU", gt=0, le=1e4)
    pedestal: float = parameter("mean dark level", "ADU", ge=0, le=2000)
    pixel_pattern: Spread = parameter("fixed pattern of the dark level from pixel to pixel", "ADU r.m.s.")
    column_pattern: Spread = parameter("fixed pattern of the dark level from column to column", "ADU r.m.s.")
    hot_pixels: Fraction = parameter("pixels that are hot", "fraction")
    hot_level: PositiveRange = parameter("dark level of a hot pixel above the pedestal", "ADU")
    read_noise: Spread = parameter("noise of the camera's readout", "ADU r.m.s.")
    saturation: int = parameter("largest value; 4095 for 12 bits", "ADU", gt=0, le=32767)


class DigitizerParams(Section):
    """From pulse energies to 16 waveforms. Triples are in the order t0, t1, t2."""

    electrons: Triple = parameter("mean electrons in a channel: t0 of both colours, t1 and t2 of one each", "per uJ")
    electron_height: float = parameter("height of one electron's signal", "V", gt=0, le=10)
    position: Triple = parameter("position of the peaks at the nominal L3 energy", "samples")
    shift: tuple[Shift, Shift, Shift] = parameter("shift of the peaks with the L3 energy", "samples per MeV")
    position_jitter: Spread = parameter("jitter of t1 and t2", "samples r.m.s.")
    rise: float = parameter("time from foot to top of a peak", "samples", gt=0, le=50)
    anisotropy: float = parameter("beta of the photo-electrons' angular distribution; t0 has none", "1", ge=-1, le=2)
    noise: float = parameter("independent baseline noise", "V r.m.s.", gt=0, le=10)
    common_noise: Spread = parameter("baseline noise shared by all channels", "V r.m.s.")
    gain_spread: float = parameter("fixed spread of ln of the channels' gains", "r.m.s.", ge=0, le=1)
    drooping_channels: tuple[Channel, ...] = parameter("channels whose baseline droops", "channel numbers from 0")
    droop: VoltRange = parameter("fall of the voltage from first to last sample on those channels", "V")

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        if max(self.position) >= SAMPLES:
            raise ValueError(
                f"position: peak outside the waveform (found {list(self.position)}, expected less than {SAMPLES}). Fix: move it"
            )
        return self


class SimulateParams(Section):
    """Section `simulate`."""

    seed: int = parameter("seed of the simulation", "1", ge=0, lt=2**32)
    experiment: str = parameter("first part of the file names", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    shots_per_file: int = parameter("most shots in a file", "shots", ge=1, le=10_000)
    first_run: int = parameter("the dark run; no-lasing and lasing runs follow", "run number", ge=1, le=9000)
    dark_shots: Shots = parameter("length of the run without beam, which gives the dark frame", "shots")
    no_lasing_shots: Shots = parameter("length of the run without lasing", "shots")
    lasing_shots: tuple[Shots, ...] = parameter("length of each lasing run", "shots", max_length=900)
    first_second: int = parameter("time of the dark run's first shot", "s since 1970", ge=0, lt=2**32)
    run_spacing: int = parameter("from the start of one run to that of the next", "s", ge=1, le=86_400)
    repetition_rate: int = parameter("shots per second; a divisor of 360", "Hz", ge=1, le=120)
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
            raise ValueError(
                "dark_shots, no_lasing_shots, lasing_shots: no shots (found 0 in each, expected at least 1). Fix: raise one"
            )
        if 360 % self.repetition_rate:
            raise ValueError(
                f"repetition_rate: not possible (found {self.repetition_rate}, expected a divisor of 360). Fix: use 120"
            )
        # Event keys stay unique as long as no run reaches into the next.
        longest = self.run_spacing * self.repetition_rate
        if max(shots) > longest:
            raise ValueError(
                f"run_spacing: a run reaches into the next (found {max(shots)} shots, expected at most run_spacing x "
                f"repetition_rate = {longest}). Fix: raise it"
            )
        return self

    @model_validator(mode="after")
    def _check_beam_fits(self) -> Self:
        columns = self.bunch.duration[1] * (1 + 4 * self.bunch.edge) / self.axes.time_per_column
        if columns > FRAME_SHAPE[1]:
            raise ValueError(
                f"bunch.duration: the longest bunch is wider than the frame (found {self.bunch.duration[1]} fs = {columns:.0f} "
                f"columns, expected at most {FRAME_SHAPE[1]}). Fix: shorten it, or raise axes.time_per_column"
            )
        return self
