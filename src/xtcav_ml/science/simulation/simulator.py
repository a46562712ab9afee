"""The shot simulator: parameters, run and shot numbers in, every dataset of a raw file out.

A pure function of the parameters. Every shot has random numbers of its own, so that neither the size of a block nor
the number of workers changes a byte.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config import schema
from xtcav_ml.config.schema import CHANNELS, FRAME_SHAPE, IMAGE, PEAKS_LABEL, REDRAWN, WAVEFORMS
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.science import labels, streak_axes
from xtcav_ml.science.simulation import beam, camera, digitizer
from xtcav_ml.science.simulation.machine import (
    APPARATUS,
    DARK_LEVEL,
    ELECTRONS_PER_PC,
    GAINS,
    GAS_DETECTORS,
    Draws,
    electron_beam,
    event_keys,
    generator,
    misread,
)

REDRAWING, WAVES, FRAME = 1, 2, 3
"""Fourth number of the seeds of what else is drawn of a shot: waveforms again, waveforms, frame."""

Floats = NDArray[np.floating]
Rows = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Shots:
    """What decides N shots of a run, without frames and waveforms."""

    index: NDArray[np.int64]  # (N,), position in the run
    columns: Rows  # (N,) each: datasets of a raw file
    bunches: beam.Bunches
    losses: Floats  # (N, bunches, T), MeV
    spike: Floats  # (N, bunches), time of each spike on the screen, fs
    axes: Floats  # (N,), fs a column with the sign of its direction
    place: Floats  # (N, 2), row and column of the mean energy and of time 0

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return which shots (N,) have a beam."""
        return np.asarray(self.columns["truth.beam"] > 0)

    @property
    def energy(self) -> Floats:
        """Return the true pulse energies (N, 2), uJ."""
        return np.stack([self.columns[name] for name in schema.TRUE_PULSES[:2]], axis=1)


def draw_shots(params: SimulateParams, run: int, index: NDArray[np.int64]) -> Shots:
    """Return the shots `index` (N,) of `run` without frames and waveforms: thousands a second.

    Raises ValueError for a run that the parameters do not name.
    """
    if run not in params.runs:
        raise ValueError(f"run must be one of {sorted(params.runs)}, got {run}")
    machine, lasing = params.machine, params.lasing
    numbers = Draws(params, run, index, 2 + beam.COLOURS * 2 * beam.spikes_of(lasing))
    chance, numbers.uniforms = numbers.uniforms[:, :2], numbers.uniforms[:, 2:]
    present = (chance[:, 0] >= machine.missing) & (run != params.first_run)
    bad = chance[:, 1] < machine.damaged
    true = electron_beam(numbers, machine)
    l3_offset = true["ebeamL3Energy"] - machine.l3_energy[0]
    l3 = l3_offset / max(machine.l3_energy[1], 1e-9)
    bc2 = (true["ebeamEnergyBC2"] - machine.bc2_energy[0]) / max(machine.bc2_energy[1], 1e-9)
    charge = true["ebeamDumpCharge"] / ELECTRONS_PER_PC
    current = true["ebeamPkCurrBC2"] / machine.bc2_current[0]
    bunches = beam.draw_bunches(numbers, l3_offset, charge, current, params.bunch)
    delay = beam.draw_delays(numbers, l3, bc2, lasing)
    losses = beam.draw_losses(numbers, bunches, l3, lasing) * (present & lases(params, run))[:, None, None]
    energy = beam.pulse_energies(bunches, losses)
    apart = np.array([0.5, -0.5]) if params.bunch.count > 1 else np.zeros(1)
    axes = streak_axes.time_per_column(params.calibration, true["ebeamXTCAVAmpl"], true["ebeamXTCAVPhase"])
    jitter = np.stack([numbers.gauss(), numbers.gauss()], axis=1) * np.array(params.camera.position_jitter)
    columns = misread(true, present, bad) | _gas_detectors(numbers, energy.sum(axis=1), params)
    columns |= {
        "truth.beam": present.astype(np.int8),
        "truth.charge": np.where(present, charge, 0.0),
        "truth.delay": np.where(present, delay, np.nan),
        **{f"truth.energy{colour + 1}": energy[:, colour] for colour in range(beam.COLOURS)},
        **{f"truth.loss{each + 1}": losses[:, each].max(axis=1) for each in range(params.bunch.count)},
    }
    return Shots(
        index, columns, bunches, losses, delay[:, None] * apart, axes, (np.array(FRAME_SHAPE) - 1) / 2 + jitter
    )


def simulate_shots(params: SimulateParams, run: int, first: int, count: int) -> Rows:
    """Return shots `first` to `first` + `count` - 1 of those of `run` that are stored, of which each array is (count, ...).

    The datasets are those of `schema.SCHEMA`, the machine's scalars and `truth.*`. The frames are int16 (count, rows = energy,
    columns = time), ADU. Raises ValueError for a run that the parameters do not name.
    """
    shots = draw_shots(params, run, np.arange(first, first + count) * params.stored_every)
    rows = dict(shots.columns)
    rows[IMAGE] = np.empty((count, *FRAME_SHAPE), np.int16)
    rows[WAVEFORMS] = draw_waveforms(params, run, shots)
    known = _whole_dark_level(params) if params.frames == "dark_subtracted" else None
    for number in range(count):
        rng = generator(params.seed, run, int(shots.index[number]), FRAME)
        charge = None
        if shots.present[number]:
            charge = camera.charge_density(streaks(params, shots, number), params.camera.resolution, FRAME_SHAPE)
        rows[IMAGE][number] = camera.stored(camera.expose(rng, _dark_of_run(params, run), charge, params.camera), known)
    rows |= label_shots(rows[WAVEFORMS], rows["bld.L3energy"], params)
    rows["truth.label"] = noiseless_labels(params, shots.energy)
    rows |= event_keys(params, run, shots.index)
    rows["lasing"] = np.full(count, lases(params, run), np.int8)
    rows["run"] = np.full(count, run, np.int32)
    rows["run.index"] = shots.index.astype(np.int32)
    return rows


def draw_waveforms(params: SimulateParams, run: int, shots: Shots) -> NDArray[np.float32]:
    """Return the waveforms (N, channels, samples), V, of shots of `run`."""
    gains, offset = _gains(params), shots.columns["bld.L3energy"] - params.rule.reference_energy
    drawn = [
        digitizer.draw_waveforms(generator(params.seed, run, index, WAVES), energy, l3_offset, gains, params.digitizer)
        for index, energy, l3_offset in zip(shots.index.tolist(), shots.energy, offset.tolist(), strict=True)
    ]
    return np.stack(drawn)


def streaks(params: SimulateParams, shots: Shots, number: int) -> Iterator[camera.Streak]:
    """Yield the parts of the bunches of shot `number` on the screen."""
    bunch, rows = shots.bunches.of(number), params.calibration.energy_per_row
    row, column = shots.place[number]
    per_column = shots.axes[number]
    middle = (0.5 - params.bunch.spike_place) * params.bunch.length[0]  # of the bunch, from its spike
    for which in range(params.bunch.count):
        parts = beam.branches(bunch, which, shots.losses[number, which], params.bunch, params.lasing.spread_growth)
        for part in parts:
            at = column + (part.time + shots.spike[number, which] - middle) / per_column
            yield camera.Streak(part.charge, at, row + part.energy / rows, np.abs(part.spread / rows))


def label_shots(waveforms: NDArray[np.float32], l3_energy: Floats, params: SimulateParams) -> Rows:
    """Return labels, positions and amplitudes of the peaks, (N,) each, of waveforms (N, channels, samples)."""
    peaks = labels.find_peaks(waveforms, l3_energy, params.rule)
    rows: Rows = {PEAKS_LABEL: labels.peaks_label(peaks)}
    for number, name in enumerate(labels.PEAKS):
        rows[f"acq.{name}.pos"] = peaks.position[number]
        rows[f"acq.{name}.ampl"] = peaks.amplitude[number]
    _, second, third = np.nan_to_num(labels.heights(waveforms, l3_energy, params.rule))
    for name, height, scale in zip(
        schema.ENERGY_AMPLITUDES, (third, second), params.digitizer.energy_scale, strict=True
    ):
        rows[name] = scale * np.maximum(height, 0)
    first, second = (rows[name] for name in schema.ENERGY_AMPLITUDES)
    return rows | {schema.ENERGY_LABEL: labels.energy_label(first, second, params.rule)}


def noiseless_labels(params: SimulateParams, energy: Floats) -> NDArray[np.int8]:
    """Return the labels (N,) that waveforms without noise would give pulses of `energy` (N, 2), uJ."""
    amplitude = np.stack([digitizer.expected_amplitudes(each, params.digitizer) for each in energy], axis=1)
    over = np.where(amplitude > np.array(params.rule.thresholds)[:, None], amplitude, np.nan)
    return labels.peaks_label(labels.drop_unequal(labels.Peaks(over, over), params.rule.largest_difference))


def redraw_labels(
    params: SimulateParams, shot: tuple[int, int], energy: Floats, l3_energy: float, count: int
) -> list[int]:
    """Return how many of `count` waveforms have each class of REDRAWN, if the waveforms of a shot are drawn again.

    `shot` is its run and number, `energy` (2,) that of its pulses, uJ, `l3_energy` in MeV: all that waveforms depend on.
    Gains drop out where the rule divides a channel by its median, unless that is of a droop which the rule leaves there.
    """
    rng = generator(params.seed, *shot, REDRAWING)
    offset = l3_energy - params.rule.reference_energy
    left = [each for each in params.digitizer.drooping_channels if each not in params.rule.drooping_channels]
    gains = np.ones(CHANNELS)
    gains[left] = _gains(params)[left]
    waveforms = digitizer.redraw_waveforms(rng, energy, offset, gains, params.digitizer, count)
    found = labels.peaks_label(labels.find_peaks(waveforms, np.full(count, l3_energy), params.rule))
    return [int((found == label).sum()) for label in range(len(REDRAWN))]


def lases(params: SimulateParams, run: int) -> bool:
    """Return whether `run` is a lasing run: all are but the first two."""
    return run >= params.first_run + 2


def _gas_detectors(numbers: Draws, energy: Floats, params: SimulateParams) -> Rows:
    """Return the readings (N,) of the gas detectors, mJ, of pulses of `energy` (N,) in all, uJ."""
    detector = params.detector
    read = {
        name: detector.offset + response * energy + detector.noise * numbers.gauss()
        for name, response in zip(GAS_DETECTORS, detector.response, strict=True)
    }
    read[GAS_DETECTORS[-1]] = np.minimum(read[GAS_DETECTORS[-1]], detector.largest)
    return {f"bld.gasdet.{name}": (1e-3 * values).astype(np.float32) for name, values in read.items()}


@functools.lru_cache(maxsize=4)
def _dark_level(params: SimulateParams) -> camera.Frame:
    """Return the dark level that the experiment subtracts: the same in every run."""
    return _kept(camera.dark_level(generator(params.seed, APPARATUS, DARK_LEVEL), FRAME_SHAPE, params.camera))


@functools.lru_cache(maxsize=4)
def _whole_dark_level(params: SimulateParams) -> camera.Frame:
    return _kept(np.rint(_dark_level(params)))


@functools.lru_cache(maxsize=4)
def _dark_of_run(params: SimulateParams, run: int) -> camera.Frame:
    """Return the mean dark frame of a run. The dark run of raw frames measures the level of all others but for its moves."""
    rng = generator(params.seed, APPARATUS, DARK_LEVEL, run)
    return _kept(_dark_level(params) + camera.moved_level(rng, FRAME_SHAPE, params.camera))


def _kept(level: camera.Frame) -> camera.Frame:
    level.flags.writeable = False
    return level


@functools.lru_cache(maxsize=4)
def _gains(params: SimulateParams) -> Floats:
    return digitizer.channel_gains(generator(params.seed, APPARATUS, GAINS), params.digitizer.gain_spread)
