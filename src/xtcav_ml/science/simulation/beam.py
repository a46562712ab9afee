"""The electron bunch and its lasing, as slices along time.

Handy units: charge in pC, time in fs and energy in MeV make the current kA (pC/fs = kA) and the pulse energy
uJ (pC x MeV = uJ).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.simulate import BunchParams, LasingParams

Floats = NDArray[np.float64]
COLOURS = 2
FWHM = 2.3548200450309493  # full width at half maximum of a Gaussian over its r.m.s. width


@dataclass(frozen=True)
class Slices:
    """A bunch in n slices along time. Every array is (n,)."""

    charge: Floats  # pC in each slice
    energy: Floats  # mean energy minus the nominal L3 energy, MeV
    spread: Floats  # energy spread, MeV r.m.s.


@dataclass(frozen=True)
class Pulses:
    """X-ray pulses of the two colours. Every array is (2,), all zero without lasing."""

    energy: Floats  # pulse energy, uJ
    loss: Floats  # mean energy loss of the electrons in the slice, MeV
    position: Floats  # middle of the slice from the middle of the bunch, fs
    duration: Floats  # length of the slice, fs


def current_shape(time: Floats, duration: float, edge: float, horns: Floats, horn_width: float) -> Floats:
    """Return the current at `time` (n,), fs from the middle of the bunch, in units of the plateau's.

    A plateau with smooth ends of `edge` x duration, and a horn just inside each end, tail (early times) first:
    `horns` (2,) are their heights over the plateau. Compression leaves such horns where the phase space folds over.
    """
    along = time / duration  # -0.5 tail, 0.5 head
    plateau = 0.5 * (np.tanh((along + 0.5) * 2 / edge) - np.tanh((along - 0.5) * 2 / edge))
    horn_centre = 0.5 - horn_width
    tail = horns[0] * np.exp(-0.5 * ((along + horn_centre) / horn_width) ** 2)
    head = horns[1] * np.exp(-0.5 * ((along - horn_centre) / horn_width) ** 2)
    return np.asarray(plateau + tail + head)


def draw_bunch(rng: np.random.Generator, time: Floats, params: BunchParams) -> tuple[Slices, float]:
    """Return a bunch before lasing, sampled at evenly spaced `time` (n,), fs from its middle, and its duration, fs.

    Energies are without the jitter of the L3 energy.
    """
    charge, duration = rng.uniform(*params.charge), rng.uniform(*params.duration)
    horns = rng.uniform(*params.horn_height, size=2)
    chirp, curvature = rng.uniform(*params.chirp), rng.uniform(*params.curvature)
    spread = rng.uniform(*params.slice_spread)
    shape = current_shape(time, duration, params.edge, horns, params.horn_width)
    along = 2 * time / duration  # -1 tail, 1 head
    return (
        Slices(
            charge=charge * shape / shape.sum(),
            energy=chirp / 2 * along + curvature * along**2,
            spread=np.full(time.shape, spread),
        ),
        duration,
    )


def draw_losses(
    rng: np.random.Generator, time: Floats, charge: Floats, bunch_duration: float, params: LasingParams
) -> tuple[Floats, Pulses]:
    """Return the energy loss (2, n), MeV, of electrons at `time` (n,) to each colour, and the pulses they make."""
    shared = params.log_gain_spread * rng.standard_normal()
    losses = np.zeros((COLOURS, time.size))
    position, duration, mean_loss = np.zeros(COLOURS), np.zeros(COLOURS), np.zeros(COLOURS)
    for colour in range(COLOURS):
        position[colour] = rng.uniform(*params.centre[colour]) * bunch_duration / 2
        duration[colour] = rng.uniform(*params.duration)
        detuning = rng.standard_normal()
        gain = np.exp(params.log_gain[colour] + shared - params.detuning_fall[colour] * detuning**2)
        shape = _draw_spikes(rng, time - position[colour], duration[colour], params.spike)
        losses[colour] = params.saturated_loss[colour] * gain / (1 + gain) * shape
        inside = np.abs(time - position[colour]) <= duration[colour] / 2
        mean_loss[colour] = (losses[colour] * charge)[inside].sum() / max(charge[inside].sum(), 1e-12)
    return losses, Pulses((losses * charge).sum(axis=1), mean_loss, position, duration)


def no_pulses() -> Pulses:
    """Return the pulses of a shot that does not lase: all zero."""
    return Pulses(*(np.zeros(COLOURS) for _ in range(4)))


def lase(bunch: Slices, losses: Floats, spread_growth: float) -> Slices:
    """Return the bunch after it has lost `losses` (colours, n), MeV, with the spread that this leaves.

    Electrons of one slice lose unequally, by their phase in the ponderomotive wave: the spread grows with the loss.
    """
    loss = losses.sum(axis=0)
    return Slices(bunch.charge, bunch.energy - loss, np.hypot(bunch.spread, spread_growth * loss))


def _draw_spikes(rng: np.random.Generator, time: Floats, duration: float, spike: float) -> Floats:
    """Return spikes of exponential power at `time` (n,) from the slice's middle; 1 on average within the slice.

    There is one spike every half spike length, each somewhere in its own part of the slice, so that they overlap.
    """
    count = max(1, round(2 * duration / spike))
    power = rng.standard_exponential(count)
    centres = ((np.arange(count) + rng.random(count)) / count - 0.5) * duration
    width = spike / FWHM
    area = duration / count / (width * np.sqrt(2 * np.pi))
    return np.asarray(area * power @ np.exp(-0.5 * ((time - centres[:, None]) / width) ** 2))
