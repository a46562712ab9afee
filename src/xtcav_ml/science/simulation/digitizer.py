"""Pulse energies -> waveforms of the 16 electron time-of-flight channels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import CHANNELS, SAMPLES
from xtcav_ml.config.simulate import DigitizerParams
from xtcav_ml.science.portable import exp
from xtcav_ml.science.simulation import draws

Floats = NDArray[np.floating]
MEDIAN_OF_NOISE = 0.6744897501960817  # median absolute value of Gaussian noise over its r.m.s


def channel_gains(rng: np.random.Generator, spread: float) -> Floats:
    """Return the gains (channels,) of the channels: log-normal, 1 in the median."""
    return np.asarray(exp(spread * draws.normal(rng, CHANNELS)))


def angular_response(anisotropy: float) -> Floats:
    """Return the relative number of photo-electrons in each channel (channels,), 1 on average.

    The channels stand around the beam, evenly spaced; linear polarization along channel 0 gives 1 + beta P2(cos).
    """
    eighth = np.sqrt(0.5)
    # cos(x)^2 = (1 + cos(2 x)) / 2, and 2 x are eighths of a turn
    squares = 0.5 + 0.5 * np.tile([1, eighth, 0, -eighth, -1, -eighth, 0, eighth], CHANNELS // 8)
    response: Floats = 1 + anisotropy * (1.5 * squares - 0.5)
    response /= response.mean()
    return response


def peak_shape(position: NDArray[Any], rise: float) -> NDArray[Any]:
    """Return one electron's signal (..., samples), of height 1 at `position` (...), with a quick rise and a slower tail."""
    since = np.maximum((np.arange(SAMPLES, dtype=position.dtype) - position[..., None]) / rise + 1, 0)
    return np.asarray(since * exp(1 - since))


def expected_electrons(energy: Floats, params: DigitizerParams) -> Floats:
    """Return the mean electrons (3,) per channel in t0, t1 and t2 for pulse energies (2,), uJ.

    They grow in proportion to weak pulses; strong ones saturate the detectors.
    """
    pulses = np.array([energy.sum(), energy[0], energy[1]])
    return np.asarray(pulses / (1 + pulses / params.half_energy) * np.array(params.electrons))


def expected_amplitudes(energy: Floats, params: DigitizerParams) -> Floats:
    """Return the noiseless amplitudes (3,) of t0, t1 and t2 in units of the noise's median absolute value."""
    noise = np.sqrt(params.noise * params.noise + params.common_noise * params.common_noise)
    return np.asarray(expected_electrons(energy, params) * params.electron_height / (MEDIAN_OF_NOISE * noise))


def draw_waveforms(
    rng: np.random.Generator, energy: Floats, l3_offset: float, gains: Floats, params: DigitizerParams
) -> NDArray[np.float32]:
    """Return waveforms (channels, samples), V, of pulses of `energy` (2,), uJ.

    `l3_offset` is the L3 energy minus that at which the peaks have their positions, MeV: a beam of more energy radiates at
    shorter wavelengths, and the photo-electrons, being faster, arrive earlier.
    """
    signal = params.noise * draws.normal(rng, (CHANNELS, SAMPLES))
    signal += params.common_noise * draws.normal(rng, SAMPLES)
    jitter = params.position_jitter * draws.normal(rng, 2)
    # Few electrons are seen in each channel: their number is the main reason why weak pulses are mislabelled.
    electrons = np.stack([draws.poisson(rng, mean) for mean in _means(energy, params)])
    if rng.random() < _overload(energy, params):
        electrons[1:] = 0
    _add_peaks(signal, electrons, l3_offset, jitter, params)
    signal *= gains[:, None]
    _add_droop(rng, signal, params)
    return signal.astype(np.float32)


def redraw_waveforms(
    rng: np.random.Generator, energy: Floats, l3_offset: float, gains: Floats, params: DigitizerParams, count: int
) -> NDArray[np.float32]:
    """Return waveforms (count, channels, samples) of the same pulses, as those of `draw_waveforms`.

    All that is random given the pulses is drawn each time. One costs a tenth, since the noise is `draws.noise`.
    """
    signal = draws.noise(rng, (count, CHANNELS, SAMPLES))
    signal *= np.float32(params.noise)
    signal += np.float32(params.common_noise) * draws.noise(rng, (count, 1, SAMPLES))
    jitter = params.position_jitter * draws.normal(rng, (2, count))
    electrons = draws.poisson(rng, np.repeat(_means(energy, params)[:, None], count, axis=1))
    electrons[1:, rng.random(count) < _overload(energy, params)] = 0
    _add_peaks(signal, electrons, l3_offset, jitter, params)
    signal *= gains[:, None].astype(np.float32)
    _add_droop(rng, signal, params)
    return signal


def _overload(energy: Floats, params: DigitizerParams) -> float:
    """Return the chance that pulses of `energy` (2,), uJ, overload the amplifier, which then sees no t1 and t2.

    The second colour does so alone: were it both together, shots with two strong pulses would be missing among those with
    both, and the amplitudes would not be as independent as they are.
    """
    return params.overload if energy[1] > params.overload_energy else 0.0


def _means(energy: Floats, params: DigitizerParams) -> Floats:
    """Return the mean electrons (3, channels) of each peak: those of t0 come alike from all sides."""
    angular = angular_response(params.anisotropy)
    return expected_electrons(energy, params)[:, None] * np.stack([np.ones(CHANNELS), angular, angular])


def _add_peaks(
    signal: NDArray[Any], electrons: NDArray[np.int64], l3_offset: float, jitter: Floats, params: DigitizerParams
) -> None:
    """Add peaks of `electrons` (3, ..., channels) to `signal` (..., channels, samples); `jitter` (2, ...) moves t1 and t2."""
    for peak, counts in enumerate(electrons):
        position = params.position[peak] + params.shift[peak] * l3_offset + (jitter[peak - 1] if peak else 0.0)
        heights = (params.electron_height * counts[..., None]).astype(signal.dtype)
        shape = peak_shape(np.asarray(position, signal.dtype), params.rise)[..., None, :]
        start = max(int(np.min(position) - params.rise), 0)  # before which there is nothing of it
        signal[..., start:] += heights * shape[..., start:]


def _add_droop(rng: np.random.Generator, signal: NDArray[Any], params: DigitizerParams) -> None:
    """Subtract a line from 0 to a fall that is drawn, in each drooping channel of `signal` (..., channels, samples)."""
    for channel in params.drooping_channels:
        fall = np.asarray(draws.uniform(rng, *params.droop, size=signal.shape[:-2]))
        signal[..., channel, :] -= fall[..., None] * np.arange(SAMPLES) / (SAMPLES - 1)
