"""Pulse energies -> waveforms of the 16 electron time-of-flight channels."""

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import CHANNELS, SAMPLES
from xtcav_ml.config.simulate import DigitizerParams
from xtcav_ml.science.portable import exp
from xtcav_ml.science.simulation import draws

Floats = NDArray[np.float64]
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


def peak_shape(position: float, rise: float) -> Floats:
    """Return one electron's signal (samples,), of height 1 at `position`, with a quick rise and a slower tail."""
    since = np.maximum((np.arange(SAMPLES) - position) / rise + 1, 0)
    return np.asarray(since * exp(1 - since))


def expected_electrons(energy: Floats, params: DigitizerParams) -> Floats:
    """Return the mean electrons (3,) per channel in t0, t1 and t2 for pulse energies (2,), uJ."""
    return np.asarray(np.array([energy.sum(), energy[0], energy[1]]) * np.array(params.electrons))


def expected_amplitudes(energy: Floats, params: DigitizerParams) -> Floats:
    """Return the noiseless amplitudes (3,) of t0, t1 and t2 in units of the noise's median absolute value."""
    noise = np.sqrt(params.noise * params.noise + params.common_noise * params.common_noise)
    return np.asarray(expected_electrons(energy, params) * params.electron_height / (MEDIAN_OF_NOISE * noise))


def draw_waveforms(
    rng: np.random.Generator, energy: Floats, l3_offset: float, gains: Floats, params: DigitizerParams
) -> NDArray[np.float32]:
    """Return waveforms (channels, samples), V, of pulses of `energy` (2,), uJ.

    `l3_offset` is the L3 energy minus its nominal value, MeV: a beam of more energy radiates at shorter wavelengths,
    and the photo-electrons, being faster, arrive earlier.
    """
    angular = angular_response(params.anisotropy)
    signal = params.noise * draws.normal(rng, (CHANNELS, SAMPLES))
    signal += params.common_noise * draws.normal(rng, SAMPLES)
    jitter = params.position_jitter * draws.normal(rng, 2)
    for peak, mean in enumerate(expected_electrons(energy, params)):
        # Few electrons are seen in each channel: their number is the main reason why weak pulses are mislabelled.
        electrons = draws.poisson(rng, mean * (np.ones(CHANNELS) if peak == 0 else angular))
        position = params.position[peak] + params.shift[peak] * l3_offset + (jitter[peak - 1] if peak else 0.0)
        signal += params.electron_height * electrons[:, None] * peak_shape(position, params.rise)
    signal *= gains[:, None]
    for channel in params.drooping_channels:
        signal[channel] -= draws.uniform(rng, *params.droop) * np.arange(SAMPLES) / (SAMPLES - 1)
    return signal.astype(np.float32)
