"""The electron bunch and its lasing, as slices along time.

Handy units: charge in pC, time in fs and energy in MeV make the current kA (pC/fs = kA) and the pulse energy
uJ (pC x MeV = uJ).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.simulate import BunchParams, LasingParams
from xtcav_ml.science.portable import exp
from xtcav_ml.science.simulation import draws

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
    plateau = _step((along + 0.5) / edge) - _step((along - 0.5) / edge)
    horn_centre = 0.5 - horn_width
    tail = horns[0] * _gaussian((along + horn_centre) / horn_width)
    head = horns[1] * _gaussian((along - horn_centre) / horn_width)
    return np.asarray(plateau + tail + head)


def draw_bunch(rng: np.random.Generator, time: Floats, params: BunchParams) -> tuple[Slices, float]:
    """Return a bunch before lasing, sampled at evenly spaced `time` (n,), fs from its middle, and its duration, fs.

    Energies are without the jitter of the L3 energy.
    """
    charge, duration = draws.uniform(rng, *params.charge), draws.uniform(rng, *params.duration)
    horns = draws.uniform(rng, *params.horn_height, size=2)
    chirp, curvature = draws.uniform(rng, *params.chirp), draws.uniform(rng, *params.curvature)
    spread = draws.uniform(rng, *params.slice_spread)
    shape = current_shape(time, duration, params.edge, horns, params.horn_width)
    along = 2 * time / duration  # -1 tail, 1 head
    return (
        Slices(
            charge=charge * shape / shape.sum(),
            energy=chirp / 2 * along + curvature * along * along,
            spread=np.full(time.shape, spread),
        ),
        duration,
    )


def draw_losses(
    rng: np.random.Generator, time: Floats, charge: Floats, bunch_duration: float, params: LasingParams
) -> tuple[Floats, Pulses]:
    """Return the energy loss (2, n), MeV, of electrons at `time` (n,) to each colour, and the pulses they make."""
    shared, *detuning = draws.normal(rng, 1 + COLOURS)  # of ln of the gains, and of each colour
    losses = np.zeros((COLOURS, time.size))
    position, duration, mean_loss = np.zeros(COLOURS), np.zeros(COLOURS), np.zeros(COLOURS)
    for colour in range(COLOURS):
        position[colour] = draws.uniform(rng, *params.centre[colour]) * bunch_duration / 2
        duration[colour] = draws.uniform(rng, *params.duration)
        fall = params.detuning_fall[colour] * detuning[colour] * detuning[colour]
        gain = exp(params.log_gain[colour] + params.log_gain_spread * shared - fall)
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
    grown = spread_growth * loss
    return Slices(bunch.charge, bunch.energy - loss, np.sqrt(bunch.spread * bunch.spread + grown * grown))


def _draw_spikes(rng: np.random.Generator, time: Floats, duration: float, spike: float) -> Floats:
    """Return spikes of exponential power at `time` (n,) from the slice's middle; 1 on average within the slice.

    There is one spike every half spike length, each somewhere in its own part of the slice, so that they overlap.
    """
    count = max(1, round(2 * duration / spike))
    power = draws.exponential(rng, count)
    centres = ((np.arange(count) + rng.random(count)) / count - 0.5) * duration
    width = spike / FWHM
    area = duration / count / (width * np.sqrt(2 * np.pi))
    spikes = power[:, None] * _gaussian((time - centres[:, None]) / width)
    return np.asarray(area * spikes.sum(axis=0))


def _gaussian(distance: Floats) -> Floats:
    """Return a Gaussian of height 1 at distances from its middle in r.m.s. widths."""
    return np.asarray(exp(-0.5 * distance * distance))


def _step(distance: Floats) -> Floats:
    """Return (1 + tanh(2 x)) / 2: a smooth step from 0 to 1 around 0."""
    return np.asarray(1 / (1 + exp(-4 * distance)))
