"""Electron bunches and their lasing: quantities of many shots at once, and the phase space of one shot.

Handy units: charge in pC, time in fs and energy in MeV make the current kA (pC/fs = kA) and the pulse energy
uJ (pC x MeV = uJ). Time grows from head to tail; that along a bunch begins at its current spike.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.simulate import BunchParams, LasingParams
from xtcav_ml.science.portable import exp, log
from xtcav_ml.science.simulation.machine import Draws

Floats = NDArray[np.floating]
COLOURS = 2
ROOT_2_PI = 2.5066282746310002
FWHM = 2.3548200450309493  # full width at half maximum of a Gaussian over its r.m.s. width
STEP, REACH = 0.5, 30.0  # of the times at which lasing is computed, fs, and how far from the spike they reach
TIMES = np.arange(-REACH, REACH + STEP / 2, STEP)  # (T,)
LONGEST_CURL = 2.5  # lengths of a curl that are drawn


@dataclass(frozen=True)
class Bunches:
    """Bunches of N shots before they lase. Every array is (N, bunches)."""

    charge: Floats  # pC
    energy: Floats  # at the spike, minus the mean L3 energy, MeV
    head: Floats  # time from the spike to the head, fs, below 0
    tail: Floats  # the same to the tail
    spike: Floats  # charge of the spike, pC
    width: Floats  # of the spike, fs r.m.s.
    chirp: Floats  # MeV per fs
    curvature: Floats  # MeV at 100 fs from the spike
    head_curl: Floats  # MeV
    tail_curl: Floats  # MeV
    spread: Floats  # MeV r.m.s.

    def of(self, shot: int) -> "Bunches":
        """Return those of one shot: every array is (bunches,)."""
        return Bunches(*(getattr(self, field.name)[shot] for field in fields(self)))


@dataclass(frozen=True)
class Branch:
    """A part of a bunch in which each time occurs once. Every array is (n,), one for each of evenly spaced times."""

    time: Floats  # from the spike, fs
    charge: Floats  # pC
    energy: Floats  # MeV
    spread: Floats  # MeV r.m.s.


def draw_bunches(numbers: Draws, l3_offset: Floats, charge: Floats, current: Floats, params: BunchParams) -> Bunches:
    """Return the bunches of shots with L3 energies `l3_offset` (N,) off the mean, MeV, and charges (N,), pC.

    `current` (N,) is that after the second compressor over its mean: the spikes have more charge with it.
    """
    gap = params.energy_gap * np.array([0.5, -0.5][: params.count] if params.count > 1 else [0.0])

    def each(quantity: tuple[float, float, float, float]) -> Floats:
        return np.stack([numbers.draw(quantity) for _ in range(params.count)], axis=1)

    split = each(params.split)
    own = charge[:, None] * split / split.sum(axis=1, keepdims=True)
    length = each(params.length)
    return Bunches(
        charge=own,
        energy=l3_offset[:, None] + gap + each(params.energy),
        head=-params.spike_place * length,
        tail=(1 - params.spike_place) * length,
        spike=own * each(params.spike_share) * current[:, None],
        width=np.maximum(each(params.spike_width), 1.0),
        chirp=each(params.chirp),
        curvature=each(params.curvature),
        head_curl=each(params.head_curl),
        tail_curl=each(params.tail_curl),
        spread=np.maximum(each(params.slice_spread), 0.1),
    )


def draw_delays(numbers: Draws, l3: Floats, bc2: Floats, params: LasingParams) -> Floats:
    """Return the delay (N,) of the first bunch to the second, fs, at L3 and BC2 energies (N,) in s.d. off their means."""
    slopes, curvatures = params.delay_slopes, params.delay_curvatures
    moved = slopes[0] * l3 + slopes[1] * bc2
    moved = moved + curvatures[0] * l3 * l3 + curvatures[1] * bc2 * bc2 + curvatures[2] * l3 * bc2
    return np.asarray(numbers.draw(params.delay) + moved)


def spikes_of(params: LasingParams) -> int:
    """Return the number of SASE spikes of a pulse: one every half spike length, so that they overlap."""
    return max(1, round(4 * params.duration / params.spike))


def draw_losses(numbers: Draws, bunches: Bunches, l3: Floats, params: LasingParams) -> Floats:
    """Return the energy loss (N, bunches, T), MeV, of electrons at TIMES from the spikes.

    `l3` (N,) is the L3 energy in s.d. off its mean. Of `numbers` all uniform ones are used.
    """
    count, spikes = bunches.charge.shape[1], spikes_of(params)
    drawn = numbers.uniforms.reshape(-1, COLOURS, 2, spikes)[:, :count]
    linear = np.stack(
        [
            _gain(numbers.draw(params.gain_spread), l3, params, colour)[:, None] * _spikes(drawn[:, colour], params)
            for colour in range(count)
        ],
        axis=1,
    )
    most = params.saturation * cube_root(current_at_spike(bunches, TIMES))
    return _slip(linear * most / (linear + most), params.slippage)


def pulse_energies(bunches: Bunches, losses: Floats) -> Floats:
    """Return the energies (N, colours), uJ, of the pulses that losses (N, bunches, T) make; 0 of a colour without bunch."""
    energy = (current_at_spike(bunches, TIMES) * losses).sum(axis=-1) * STEP
    return np.pad(energy, ((0, 0), (0, COLOURS - energy.shape[1])))


def current_at_spike(bunches: Bunches, times: Floats) -> Floats:
    """Return the current (..., bunches, n), kA, at `times` (n,) from the spike, as it is away from the ends."""
    width, spike = bunches.width[..., None], bunches.spike[..., None]
    flat = (bunches.charge - bunches.spike) / (bunches.tail - bunches.head)
    return np.asarray(flat[..., None] + spike * gaussian(times / width) / (width * ROOT_2_PI))


def branches(bunch: Bunches, which: int, loss: Floats | None, params: BunchParams, growth: float) -> Iterator[Branch]:
    """Yield body, head curl and tail curl of bunch `which` of a shot after losses (T,), MeV, at TIMES.

    `growth` is the square of the spread added per loss. Where the phase space folds over, both parts go as the square root
    of the time from the fold, and the current rises toward it as one over that.
    """
    head, tail = float(bunch.head[which]), float(bunch.tail[which])
    length = params.curl_length
    lost = params.curl_share * float(bunch.charge[which])
    time = head + STEP * (np.arange(int((tail - head) / STEP)) + 0.5)
    ends = ((time - head, bunch.head_curl[which]), (tail - time, bunch.tail_curl[which]))
    curled = sum(_curl(since, height, length) * exp(-since / length) for since, height in ends)
    rises = sum(exp(-since / length) / np.sqrt(since / length + 0.05) for since, _ in ends)
    flat = (1 + params.curl_share * rises) / (1 + params.curl_share * rises).sum()
    spike = gaussian(time / bunch.width[which]) * STEP / (bunch.width[which] * ROOT_2_PI) * bunch.spike[which]
    charge = (bunch.charge[which] - bunch.spike[which] - 2 * lost) * flat + spike
    energy = _line(bunch, which, time) - curled
    spread = np.full(time.shape, bunch.spread[which])
    if loss is not None:
        at = interpolated(loss, time)
        square = growth * at * cube_root(np.maximum(charge / STEP, 1e-6))
        energy, spread = energy - at, np.sqrt(spread * spread + square)
    yield Branch(time, charge, energy, spread)
    since = np.arange(STEP / 2, LONGEST_CURL * length, STEP)
    fallen = exp(-since / length) / np.sqrt(since / length + 0.05)
    for end, sign, height in ((head, 1, bunch.head_curl[which]), (tail, -1, bunch.tail_curl[which])):
        middle = _line(bunch, which, np.array([end]))[0]
        curl = middle + _curl(since, height, length) + sign * 0.5 * bunch.chirp[which] * since
        spread = bunch.spread[which] * (1 + since / length)
        branch = Branch(end + sign * since, lost * fallen / fallen.sum(), curl, spread)
        yield branch if sign > 0 else Branch(*(getattr(branch, field.name)[::-1] for field in fields(branch)))


def interpolated(values: Floats, times: Floats) -> Floats:
    """Return values (T,) at TIMES as they are at `times` (n,), 0 outside."""
    place = (times + REACH) / STEP
    first = np.clip(np.floor(place).astype(np.int64), 0, len(TIMES) - 2)
    part = place - first
    inside = (part >= 0) & (part <= 1)
    return np.where(inside, values[first] * (1 - part) + values[first + 1] * part, 0.0)


def gaussian(distance: Floats) -> Floats:
    """Return a Gaussian of height 1 at distances from its middle in r.m.s. widths."""
    return np.asarray(exp(-0.5 * distance * distance))


def cube_root(values: Floats) -> Floats:
    """Return the third root of positive values."""
    return np.asarray(exp(log(values) / 3))


def _gain(varied: Floats, l3: Floats, params: LasingParams, colour: int) -> Floats:
    return np.asarray(exp(params.log_gain[colour] + varied + params.detuning[colour] * l3))


def _spikes(drawn: Floats, params: LasingParams) -> Floats:
    """Return spikes of exponential power (N, T) under a Gaussian, from uniform numbers (N, 2, spikes); about 1 in the middle.

    There is one spike every half spike length, each somewhere in its own part of twice the length that lases.
    """
    count = drawn.shape[-1]
    power = -log(1 - drawn[:, 0])
    reach = 2 * params.duration
    centre = ((np.arange(count) + drawn[:, 1]) / count - 0.5) * reach
    width = params.spike / FWHM
    times = (TIMES - centre[..., None]).astype(np.float32) / np.float32(width)
    shape = (power[..., None] * exp(np.float32(-0.5) * times * times)).sum(axis=1)
    area = reach / count / (width * ROOT_2_PI)
    return np.asarray(area * shape * gaussian(TIMES * (FWHM / params.duration)))


def _slip(losses: Floats, width: float) -> Floats:
    """Return losses (..., T) smoothed over the slippage, fs r.m.s.; what lies beyond the ends is 0."""
    reach = int(np.ceil(3 * width / STEP))
    weights = gaussian(np.arange(-reach, reach + 1) * (STEP / width))
    weights = weights / weights.sum()
    wide = np.pad(losses, [(0, 0)] * (losses.ndim - 1) + [(reach, reach)])
    size = losses.shape[-1]
    return np.asarray(sum(weight * wide[..., shift : shift + size] for shift, weight in enumerate(weights)))


def _line(bunch: Bunches, which: int, time: Floats) -> Floats:
    """Return the energy at times (n,) along a bunch without curls, MeV off the mean L3 energy."""
    bent = bunch.curvature[which] * (time / 100) * (time / 100)
    return np.asarray(bunch.energy[which] + bunch.chirp[which] * time + bent)


def _curl(since: Floats, height: Floats, length: float) -> Floats:
    return np.asarray(height * np.sqrt(since / length))
