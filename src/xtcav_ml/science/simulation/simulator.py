"""The shot simulator: parameters, run and shot numbers in, every dataset of a raw file out.

A pure function of the parameters. Every shot has random numbers of its own, so that neither the size of a block nor
the number of workers changes a byte.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import CHANNELS, EVENT_KEY, FRAME_SHAPE, IMAGE, PEAKS_LABEL, REDRAWN, WAVEFORMS
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science import labels
from xtcav_ml.science.simulation import beam, camera, digitizer, draws

FIDUCIAL_RATE, FIDUCIAL_LIMIT = 360, 0x1FFE0  # fiducial counter: Hz, and the count at which it restarts

# Second number of the seeds of what belongs to the apparatus and not to a shot. No run has number 0.
APPARATUS, DARK_LEVEL, GAINS = 0, 0, 1
REDRAWING = 1  # fourth number of the seeds of waveforms that are drawn again
Rows = dict[str, NDArray[Any]]
Scalars = dict[str, NDArray[Any] | np.generic]


def simulate_shots(params: SimulateParams, run: int, first: int, count: int) -> Rows:
    """Return shots `first` to `first` + `count` - 1 of `run`: the datasets of `schema.SCHEMA` and `truth.*`.

    Each array is (count, ...). The frames are int16 (count, rows = energy, columns = time), ADU. Raises ValueError for
    a run that the parameters do not name.
    """
    if run not in params.runs:
        raise ValueError(f"run must be one of {sorted(params.runs)}, got {run}")
    index = np.arange(first, first + count)
    rows: Rows = {IMAGE: np.empty((count, *FRAME_SHAPE), np.int16)}
    scalars = []
    for number, shot in enumerate(index):
        rng = _generator(params.seed, run, int(shot))
        scalar, streak = draw_shot(rng, params, run)
        patch = camera.charge_density(streak, params.camera.resolution, FRAME_SHAPE[0]) if streak else None
        rows[IMAGE][number] = camera.expose(rng, _dark_level(params), patch, params.camera)
        scalars.append(scalar)
    rows |= {name: np.stack([scalar[name] for scalar in scalars]) for name in scalars[0]}
    rows |= label_shots(rows[WAVEFORMS], rows["bld.L3energy"], params)
    rows |= event_keys(params, run, index)
    rows["lasing"] = np.full(count, lases(params, run), np.int8)
    rows["run"] = np.full(count, run, np.int32)
    rows["run.index"] = index.astype(np.int32)
    return rows


def draw_shot(rng: np.random.Generator, params: SimulateParams, run: int) -> tuple[Scalars, camera.Streak | None]:
    """Return waveforms, L3 energy and truth of one shot, and where the beam falls on the screen (None: no beam)."""
    bunch, axes = params.bunch, params.axes
    l3_jitter, *position_jitter = draws.normal(rng, 3).tolist()
    l3_offset = bunch.l3_jitter * l3_jitter
    row, column = (
        (length - 1) / 2 + spread * jitter
        for length, spread, jitter in zip(FRAME_SHAPE, params.camera.position_jitter, position_jitter, strict=True)
    )
    # The slices are the camera's columns, so that charge, loss and pulse energy belong to the same electrons.
    half = bunch.duration[1] * (0.5 + 2 * bunch.edge) / axes.time_per_column
    columns = np.arange(int(np.ceil(column - half)), int(np.floor(column + half)) + 1)
    time = (columns - column) * axes.time_per_column
    slices, duration = beam.draw_bunch(rng, time, bunch)
    losses, pulses = beam.draw_losses(rng, time, slices.charge, duration, params.lasing)
    present = bool(rng.random() >= bunch.missing) and run != params.first_run
    if present and lases(params, run):
        slices = beam.lase(slices, losses, params.lasing.spread_growth)
    else:
        pulses = beam.no_pulses()
    waveforms = digitizer.draw_waveforms(rng, pulses.energy, l3_offset, _gains(params), params.digitizer)
    charge = float(slices.charge.sum()) if present else 0.0
    scalar: Scalars = {WAVEFORMS: waveforms, "bld.L3energy": np.float64(bunch.l3_energy + l3_offset)}
    scalar |= _truth(params, pulses, present, charge=charge, duration=duration, row=row, column=column)
    if not present:
        return scalar, None
    middle = row + (l3_offset + slices.energy) / axes.energy_per_row
    spread = slices.spread / axes.energy_per_row
    return scalar, camera.Streak(slices.charge, middle, spread, int(columns[0]))


def label_shots(waveforms: NDArray[np.float32], l3_energy: NDArray[np.float64], params: SimulateParams) -> Rows:
    """Return `acq.peaksLabel`, positions and amplitudes, (N,) each, of waveforms (N, channels, samples)."""
    peaks = labels.find_peaks(waveforms, l3_energy, params.rule)
    rows: Rows = {PEAKS_LABEL: labels.peaks_label(peaks)}
    for number, name in enumerate(labels.PEAKS):
        rows[f"acq.{name}.pos"] = peaks.position[number]
        rows[f"acq.{name}.ampl"] = peaks.amplitude[number]
    return rows


def redraw_labels(
    params: SimulateParams, shot: tuple[int, int], energy: NDArray[np.float64], l3_energy: float, count: int
) -> list[int]:
    """Return how many of `count` waveforms have each class of REDRAWN, if the waveforms of a shot are drawn again.

    `shot` is its run and number, `energy` (2,) that of its pulses, uJ, `l3_energy` in MeV: all that waveforms depend on.
    Gains drop out where the rule divides a channel by its median, unless that is of a droop which the rule leaves there.
    """
    rng = _generator(params.seed, *shot, REDRAWING)
    offset = l3_energy - params.bunch.l3_energy
    left = [each for each in params.digitizer.drooping_channels if each not in params.rule.drooping_channels]
    gains = np.ones(CHANNELS)
    gains[left] = _gains(params)[left]
    waveforms = digitizer.redraw_waveforms(rng, energy, offset, gains, params.digitizer, count)
    found = labels.peaks_label(labels.find_peaks(waveforms, np.full(count, l3_energy), params.rule))
    return [int((found == label).sum()) for label in range(len(REDRAWN))]


def lases(params: SimulateParams, run: int) -> bool:
    """Return whether `run` is a lasing run: all are but the first two."""
    return run >= params.first_run + 2


def event_keys(params: SimulateParams, run: int, index: NDArray[np.int64]) -> Rows:
    """Return seconds, nanoseconds and fiducials, (N,) int64 each, of the shots `index` (N,) of `run`.

    Shots follow one another at the repetition rate; no two shots of any run have the same seconds and nanoseconds.
    """
    start = params.first_second + (run - params.first_run) * params.run_spacing
    rate = params.repetition_rate
    seconds = start + index // rate
    nanoseconds = index % rate * 1_000_000_000 // rate
    fiducials = (start * FIDUCIAL_RATE + index * (FIDUCIAL_RATE // rate)) % FIDUCIAL_LIMIT
    return dict(zip(EVENT_KEY, (seconds, nanoseconds, fiducials), strict=True))


def _truth(params: SimulateParams, pulses: beam.Pulses, present: bool, **scalars: float) -> Scalars:
    """Return the true quantities of one shot, as `truth.*`; `truth.label` is the label of noise-free waveforms."""
    truth: Scalars = {f"truth.{name}": np.float64(value) for name, value in scalars.items()}
    for colour in range(beam.COLOURS):
        for name in ("energy", "loss", "position", "duration"):
            truth[f"truth.{name}{colour + 1}"] = np.float64(getattr(pulses, name)[colour])
    amplitude = digitizer.expected_amplitudes(pulses.energy, params.digitizer)[:, None]
    over = np.where(amplitude > np.array(params.rule.thresholds)[:, None], amplitude, np.nan)
    peaks = labels.drop_unequal(labels.Peaks(over, over), params.rule.largest_difference)
    truth["truth.label"] = labels.peaks_label(peaks)[0]
    truth["truth.beam"] = np.int8(present)
    return truth


def _generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))


@functools.lru_cache(maxsize=4)
def _dark_level(params: SimulateParams) -> camera.Frame:
    """Return the mean dark frame: the same for every run."""
    level = camera.dark_level(_generator(params.seed, APPARATUS, DARK_LEVEL), FRAME_SHAPE, params.camera)
    level.flags.writeable = False
    return level


@functools.lru_cache(maxsize=4)
def _gains(params: SimulateParams) -> NDArray[np.float64]:
    return digitizer.channel_gains(_generator(params.seed, APPARATUS, GAINS), params.digitizer.gain_spread)
