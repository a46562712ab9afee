"""Waveforms -> peaks -> label, by the rule that made the labels of the experiment.

The rule leaves some choices open. Ours:
- The droop is subtracted before a channel is divided by its median absolute value, which the droop would raise.
- The maximum is that of the mean of the channels, since the colours differ in time, not in angle.
- Where t1 and t2 are both over their thresholds but too different, the smaller one does not count, as a shoulder of the
  larger one. If t2 is the larger one, the shot has no label.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.peaks import PeakRule

PEAKS = ("t0", "t1", "t2")
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Peaks:
    """Peaks of N shots. Both arrays are (3, N) in the order t0, t1, t2, NaN where there is no peak."""

    position: NDArray[np.float64]  # samples
    amplitude: NDArray[np.float64]  # units of the channel's median absolute value


def remove_droop(waveforms: Floats, channels: tuple[int, ...], baseline_samples: int) -> Floats:
    """Return waveforms (N, channels, samples) with a straight line subtracted from `channels`.

    The line runs through the medians of the first and of the last `baseline_samples` samples, where no peak is
    expected, so that a peak in between does not bend it.
    """
    corrected = np.array(waveforms)
    samples = waveforms.shape[-1]
    for channel in channels:
        start = np.median(waveforms[:, channel, :baseline_samples], axis=-1)
        stop = np.median(waveforms[:, channel, samples - baseline_samples :], axis=-1)
        middle = (baseline_samples - 1) / 2  # of the first window; the last one mirrors it
        along = (np.arange(samples) - middle) / max(samples - 1 - 2 * middle, 1)
        corrected[:, channel] -= start[:, None] + (stop - start)[:, None] * along
    return corrected


def normalize(waveforms: Floats) -> Floats:
    """Return waveforms (N, channels, samples) over each channel's median absolute value; a dead channel gives 0."""
    scale = _median(np.abs(waveforms))[..., None]
    return np.divide(waveforms, scale, out=np.zeros_like(waveforms), where=scale > 0)


def _median(values: Floats) -> Floats:
    """Return the median (...) of values (..., n), NaN if one is NaN: that of numpy, four times as fast for even n."""
    middle = values.shape[-1] // 2
    if values.shape[-1] % 2:
        return np.asarray(np.median(values, axis=-1))
    parted = np.partition(values, middle - 1, axis=-1)  # numpy's median parts at two places
    return np.asarray(np.mean([parted[..., middle - 1], parted[..., middle:].min(axis=-1)], axis=0))


def find_peaks(waveforms: Floats, l3_energy: Floats, rule: PeakRule) -> Peaks:
    """Return the peaks that `rule` finds in waveforms (N, channels, samples), V, at L3 energies (N,), MeV.

    A peak is the maximum of the channels' mean in its region if that is over the threshold. A peak whose region lies
    outside the waveform, or whose L3 energy is NaN, is absent.
    """
    place, top = _search(waveforms, l3_energy, rule)
    present = top > np.array(rule.thresholds)[:, None]
    peaks = Peaks(np.where(present, place, np.nan), np.where(present, top, np.nan))
    return drop_unequal(peaks, rule.largest_difference)


def _search(waveforms: Floats, l3_energy: Floats, rule: PeakRule) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sample and height (3, N) each of the maximum in each region, NaN where the region lies outside."""
    level = remove_droop(waveforms, rule.drooping_channels, rule.baseline_samples)
    trace = normalize(level).mean(axis=1, dtype=np.float64)
    shots, samples = trace.shape
    place, top = np.full((2, len(PEAKS), shots), np.nan)
    for peak, ((start, stop), shift) in enumerate(zip(rule.regions, rule.shift, strict=True)):
        moved = shift * (np.asarray(l3_energy, np.float64) - rule.reference_energy)[:, None]
        inside = (np.arange(samples) >= start + moved) & (np.arange(samples) < stop + moved)
        searched = np.where(inside, trace, -np.inf)
        found = inside.any(axis=1)
        top[peak, found] = searched.max(axis=1)[found]
        place[peak, found] = searched.argmax(axis=1)[found]
    return place, top


def drop_unequal(peaks: Peaks, largest_difference: float) -> Peaks:
    """Return the peaks without the smaller one of t1 and t2 where they differ by more than that fraction of the larger."""
    position, amplitude = peaks.position.copy(), peaks.amplitude.copy()
    larger = np.fmax(amplitude[1], amplitude[2])
    unequal = np.abs(amplitude[1] - amplitude[2]) > largest_difference * larger  # False where one is NaN
    for peak in (1, 2):
        dropped = unequal & (amplitude[peak] < larger)
        position[peak, dropped] = amplitude[peak, dropped] = np.nan
    return Peaks(position, amplitude)


def peaks_label(peaks: Peaks) -> NDArray[np.int8]:
    """Return the label (N,) of each shot from which peaks it has.

    0: none, 1: t0, 2: t0 and t1, 3: t0, t1 and t2, -1: any other combination (t1 or t2 without t0, t2 without t1).
    """
    t0, t1, t2 = ~np.isnan(peaks.amplitude)
    cases = [~t0 & ~t1 & ~t2, t0 & ~t1 & ~t2, t0 & t1 & ~t2, t0 & t1 & t2]
    return np.select(cases, [0, 1, 2, 3], -1).astype(np.int8)


def energy_label(first: Floats, second: Floats, rule: PeakRule) -> NDArray[np.int8]:
    """Return the label (N,) of each shot from the amplitudes (N,) of its energy peaks e1 and e2.

    0: none, 1: e1 alone, 2: e2 alone, 3: both, -1: one lies between its thresholds or is NaN.
    """
    present = [values > least for values, least in zip((first, second), rule.energy_thresholds, strict=True)]
    absent = [(values <= rule.energy_absent) & ~there for values, there in zip((first, second), present, strict=True)]
    cases = [absent[0] & absent[1], present[0] & absent[1], absent[0] & present[1], present[0] & present[1]]
    return np.select(cases, [0, 1, 2, 3], -1).astype(np.int8)


def heights(waveforms: Floats, l3_energy: Floats, rule: PeakRule) -> NDArray[np.float64]:
    """Return the greatest mean (3, N) of the normalized channels in each region, over its threshold or not; NaN outside."""
    return _search(waveforms, l3_energy, rule)[1]
