"""Section `simulate`: everything that decides the simulated shots.

The machine has a set point, and every quantity of it jitters around that and drifts. docs/simulator.md has the source of each
number.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from xtcav_ml.config.base import Section, parameter
from xtcav_ml.config.peaks import Channel, PeakRule
from xtcav_ml.config.schema import SAMPLES


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"low is above high (found {value[0]}, expected <= {value[1]}). Fix: swap them")
    return value


Positive = Annotated[float, Field(gt=0, le=1e4)]
Pair = tuple[Positive, Positive]
Triple = tuple[Positive, Positive, Positive]
Spread = Annotated[float, Field(ge=0, le=1e4)]
Shift = Annotated[float, Field(ge=-20, le=20)]
Slope = Annotated[float, Field(ge=-100, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Volts = Annotated[float, Field(ge=-10, le=10)]
Mean = Annotated[float, Field(ge=-20_000, le=20_000)]
VoltRange = Annotated[tuple[Volts, Volts], AfterValidator(_ascending)]
PositiveRange = Annotated[Pair, AfterValidator(_ascending)]
LIGHT = 0.3  # um per fs, as the classical analysis has it
LARGEST_PHASE = 60.0  # degrees from a zero crossing, beyond which a frame has no time axis (science/streak_axes.py)
OUTLYING = 6  # s.d. that a phase may lie off its mean: not one shot in a hundred million is beyond
Shots = Annotated[int, Field(ge=0, le=10_000_000)]
Pixel = Annotated[int, Field(ge=0, le=1000)]


def _shares(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if value[2] + value[3] > 1:
        raise ValueError(
            f"shares of the variance add up to more than 1 (found {value[2]} and {value[3]}, expected at most 1 in all). "
            "Fix: lower one"
        )
    return value


Varying = Annotated[tuple[Mean, Spread, Fraction, Fraction], AfterValidator(_shares)]
"""Mean, s.d., and the shares of the variance that drift with the two times of `drift`; the rest is new in every shot."""


class CalibrationParams(Section):
    """The six constants of an XTCAV calibration, by the names of the classical analysis."""

    umperpix: float = parameter("size of a pixel on the screen", "um", ge=0.1, le=1000)
    strstrength: float = parameter("streak: um on the screen per um along the bunch", "1", ge=1, le=10_000)
    rfampcalib: float = parameter("RF amplitude at which strstrength was measured", "MV", ge=0.1, le=1000)
    rfphasecalib: float = parameter(
        "RF phase of the zero crossing at which it was measured", "degrees", ge=-360, le=360
    )
    dumpe: float = parameter("beam energy for which the dump is set", "MeV", ge=100, le=20_000)
    dumpdisp: float = parameter("dispersion at the screen, negative if energy falls with the row", "m", ge=-10, le=10)

    @property
    def energy_per_row(self) -> float:
        """Return the energy from one row to the next, MeV."""
        return self.umperpix * 1e-6 * self.dumpe / self.dumpdisp

    @property
    def time_per_column(self) -> float:
        """Return the time from one column to the next, fs, at the RF amplitude and on the side of the calibration."""
        return self.umperpix / (LIGHT * self.strstrength)

    @model_validator(mode="after")
    def _disperses(self) -> Self:
        if not self.dumpdisp:
            raise ValueError("dumpdisp: no dispersion (found 0, expected another number). Fix: correct it")
        return self


class MachineParams(Section):
    """What the machine reports of each shot. Quadruples: mean, s.d., shares of the variance that drift slowly and fast."""

    drift: Pair = parameter("times of the slow and of the fast drift", "s")
    l3_energy: Varying = parameter("L3 energy, of the beam between both bunches", "MeV, MeV, 1, 1")
    gun_charge: Varying = parameter("charge at the gun", "pC, pC, 1, 1")
    charge: Varying = parameter("charge at the dump", "pC, pC, 1, 1")
    bc1_energy: Varying = parameter("position in the first compressor", "mm, mm, 1, 1")
    bc2_energy: Varying = parameter("position in the second compressor", "mm, mm, 1, 1")
    bc1_current: Varying = parameter("current after the first compressor", "A, A, 1, 1")
    bc2_current: Varying = parameter("current after the second compressor", "A, A, 1, 1")
    xtcav_amplitude: Varying = parameter("RF amplitude of the XTCAV", "MV, MV, 1, 1")
    xtcav_phase: Varying = parameter("RF phase of the XTCAV", "degrees, degrees, 1, 1")
    photon_energy: tuple[Positive, Spread] = parameter("photon energy at the mean L3 energy, and its noise", "eV")
    missing: Fraction = parameter("shots without beam, and a damage mask that says so", "fraction")
    damaged: Fraction = parameter("shots of which the damage mask says that scalars are bad", "fraction")


class BunchParams(Section):
    """The bunches before they lase. Quadruples as in MachineParams, drawn for each bunch by itself."""

    count: int = parameter("bunches, 1 or 2; the first lases at the higher photon energy", "1", ge=1, le=2)
    energy_gap: float = parameter("energy of the first minus that of the second, at their spikes", "MeV", ge=0, le=100)
    energy: Varying = parameter("energy of a bunch off its place", "MeV, MeV, 1, 1")
    split: Varying = parameter("share of a bunch in the charge, before they are made to add up to 1", "1, 1, 1, 1")
    length: Varying = parameter("length from end to end", "fs, fs, 1, 1")
    spike_place: float = parameter("current spike from the head", "fraction of the length", ge=0.05, le=0.95)
    spike_share: Varying = parameter("share of the spike in a bunch's charge at the mean BC2 current", "1, 1, 1, 1")
    spike_width: Varying = parameter("width of the spike", "fs r.m.s., fs, 1, 1")
    chirp: Varying = parameter("energy along the bunch, from head to tail", "MeV per fs, MeV per fs, 1, 1")
    curvature: Varying = parameter("energy added at 100 fs from the spike", "MeV, MeV, 1, 1")
    head_curl: Varying = parameter("height of the curl at the head", "MeV, MeV, 1, 1")
    tail_curl: Varying = parameter("height of the curl at the tail", "MeV, MeV, 1, 1")
    curl_length: float = parameter("length of the curls", "fs", gt=0, le=100)
    curl_share: float = parameter("charge of each curl", "fraction of the bunch", ge=0, le=0.3)
    slice_spread: Varying = parameter("slice energy spread before lasing", "MeV r.m.s., MeV, 1, 1")


class LasingParams(Section):
    """Each bunch lases at its current spike, at a colour of its own, as in self-amplified spontaneous emission.

    The local energy loss without saturation is a gain times spikes of exponential power times a Gaussian along the bunch. It
    saturates where it happens, and is then smoothed over the slippage. The square of the spread grows with the loss.
    """

    delay: Varying = parameter("delay of the first colour to the second, without what follows", "fs, fs, 1, 1")
    delay_slopes: tuple[Slope, Slope] = parameter("change with L3 and BC2 energy", "fs per s.d.")
    delay_curvatures: tuple[Slope, Slope, Slope] = parameter(
        "change with their squares and their product", "fs per s.d. squared"
    )
    duration: float = parameter("length that lases, full width at half maximum", "fs", ge=1, le=100)
    spike: float = parameter("length of a SASE spike, full width at half maximum", "fs", gt=0, le=20)
    slippage: float = parameter("smoothing by slippage", "fs r.m.s.", ge=0.1, le=10)
    log_gain: tuple[Slope, Slope] = parameter(
        "mean of ln of the loss without saturation over 1 MeV, of each colour", "1"
    )
    gain_spread: Varying = parameter("fluctuation of ln of the gain, drawn for each colour", "1, 1, 1, 1")
    detuning: tuple[Slope, Slope] = parameter("change of ln of each gain with the L3 energy", "per s.d.")
    saturation: float = parameter(
        "local energy loss at which a gain without end saturates, at 1 kA", "MeV", gt=0, le=40
    )
    spread_growth: float = parameter("square of the spread added per loss, at 1 kA", "MeV^2 per MeV", ge=0, le=50)


class DetectorParams(Section):
    """The six gas detectors, in the order of GAS_DETECTORS."""

    response: tuple[Fraction, Fraction, Fraction, Fraction, Fraction, Fraction] = parameter(
        "reading over the pulses' energy", "1"
    )
    offset: float = parameter("reading without X-rays", "uJ", ge=-100, le=100)
    noise: float = parameter("noise of a reading", "uJ r.m.s.", ge=0, le=100)
    largest: float = parameter("largest reading of the last one", "uJ", gt=0, le=10_000)


class CameraParams(Section):
    """From charge density to a frame."""

    resolution: Pair = parameter("width of a point, rows and columns", "pixels r.m.s.")
    position_jitter: tuple[Spread, Spread] = parameter("jitter of the beam on screen: rows, columns", "pixels r.m.s.")
    response: float = parameter("signal of the charge", "ADU per pC", gt=0, le=1e7)
    photoelectrons: float = parameter("detected quanta; they set the shot noise", "per ADU", gt=0, le=1e4)
    pedestal: float = parameter("mean dark level of raw frames", "ADU", ge=0, le=2000)
    pixel_pattern: Spread = parameter("fixed pattern of the dark level from pixel to pixel", "ADU r.m.s.")
    column_pattern: Spread = parameter("fixed pattern of the dark level from column to column", "ADU r.m.s.")
    moved_level: Spread = parameter("move of the dark level from run to run", "ADU r.m.s.")
    moved_columns: Spread = parameter("the same of each column", "ADU r.m.s.")
    moved_blocks: Spread = parameter("the same of each read-out block", "ADU r.m.s.")
    blocks: tuple[Pixel, Pixel] = parameter("row and column where the read-out blocks meet", "pixels")
    hot_pixels: Fraction = parameter("pixels that are hot", "fraction")
    hot_level: PositiveRange = parameter("dark level of a hot pixel above the pedestal", "ADU")
    read_noise: Spread = parameter("noise of the camera's readout", "ADU r.m.s.")
    saturation: int = parameter("largest value of a raw frame; 4095 for 12 bits", "ADU", gt=0, le=32767)


class DigitizerParams(Section):
    """From pulse energies to 16 waveforms. Triples are in the order t0, t1, t2."""

    electrons: Triple = parameter("mean electrons in a channel for weak pulses: t0, t1, t2", "per uJ")
    half_energy: float = parameter("pulse energy at which saturation has halved the electrons", "uJ", gt=0, le=1e6)
    electron_height: float = parameter("height of one electron's signal", "V", gt=0, le=10)
    overload_energy: float = parameter("energy of the second colour that overloads the amplifier", "uJ", gt=0, le=1e6)
    overload: Fraction = parameter("such shots that lose t1 and t2", "fraction")
    energy_scale: Pair = parameter("amplitudes of e1 and e2 over the heights of t2 and t1", "1")
    position: Triple = parameter("position of the peaks at rule.reference_energy", "samples")
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
    dark_shots: Shots = parameter("length of the run without beam, which gives the dark frame of raw ones", "shots")
    no_lasing_shots: Shots = parameter("length of the run without lasing", "shots")
    lasing_shots: tuple[Shots, ...] = parameter("length of each lasing run", "shots", max_length=900)
    first_second: int = parameter("time of the dark run's first shot", "s since 1970", ge=0, lt=2**32)
    run_spacing: int = parameter("from the start of one run to that of the next", "s", ge=1, le=86_400)
    repetition_rate: int = parameter("shots per second; a divisor of 360", "Hz", ge=1, le=120)
    stored_every: int = parameter(
        "of how many shots one is stored, so that a few cover minutes", "shots", ge=1, le=1000
    )
    frames: Literal["dark_subtracted", "raw"] = parameter("frames as the experiment stored them, or of the camera")
    calibration: CalibrationParams
    machine: MachineParams
    bunch: BunchParams
    lasing: LasingParams
    detector: DetectorParams
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
                f"repetition_rate: not possible (found {self.repetition_rate}, expected a divisor of 360). Fix: use 60"
            )
        # Event keys stay unique as long as no run reaches into the next.
        longest = self.run_spacing * self.repetition_rate
        if max(shots) * self.stored_every > longest:
            raise ValueError(
                f"run_spacing: a run reaches into the next (found {max(shots)} shots x stored_every, expected at most "
                f"run_spacing x repetition_rate = {longest}). Fix: raise it"
            )
        return self

    @model_validator(mode="after")
    def _check_phase(self) -> Self:
        # A frame without a time axis cannot be drawn.
        mean, deviation, *_ = self.machine.xtcav_phase
        off = abs((mean - self.calibration.rfphasecalib + 90) % 180 - 90)
        if off + OUTLYING * deviation > LARGEST_PHASE:
            raise ValueError(
                f"machine.xtcav_phase: no streak in some shots (found a mean {off:g} degrees from a zero crossing and an s.d. "
                f"of {deviation:g}, expected mean + {OUTLYING} s.d. of at most {LARGEST_PHASE:g}). Fix: move it towards "
                "calibration.rfphasecalib"
            )
        return self
