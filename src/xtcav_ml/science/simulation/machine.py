"""The machine's state in each shot: a set point, jitter around it, and drift, for many shots at once.

Each shot has random numbers of its own, and drift is a function of time, so that any shots can be asked for in any order.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.config.simulate import MachineParams, SimulateParams
from xtcav_ml.science.simulation import draws

FIDUCIAL_RATE, FIDUCIAL_LIMIT = 360, 0x1FFE0  # fiducial counter: Hz, and the count at which it restarts

# Second number of the seeds of what belongs to the apparatus and not to a shot. No run has number 0.
APPARATUS, DARK_LEVEL, GAINS, DRIFT = 0, 0, 1, 2
NUMBERS = 64  # of the normal distribution that each shot has for its scalars

Floats = NDArray[np.floating]
Columns = dict[str, NDArray[Any]]

GAS_DETECTORS = ("f_11_ENRC", "f_12_ENRC", "f_21_ENRC", "f_22_ENRC", "f_63_ENRC", "f_64_ENRC")

OTHERS = {
    "ebeamLTUAngX": (0.0694, 0.0164, 0.0),
    "ebeamLTUAngY": (0.0167, 0.0029, 0.0),
    "ebeamLTUPosX": (-0.2614, 0.0286, 0.0),
    "ebeamLTUPosY": (0.1020, 0.0047, 0.0),
    "ebeamUndAngX": (0.00006, 0.0009, -0.3),
    "ebeamUndAngY": (-0.00008, 0.00065, 0.65),
    "ebeamUndPosX": (-0.0011, 0.0112, 0.0),
    "ebeamUndPosY": (-0.0075, 0.0081, 0.66),
}
"""Positions and angles that decide nothing here: median and robust s.d. in run 70, and correlation with -L3, mm and mrad."""

LTU_OF_L3 = (0.03622, -0.03622)  # mm per MeV of LTU250 and LTU450, run 70
FROM_L3, BC2_ON_BC1, CURRENT_ON_BC2, CHARGE_ON_L3 = -0.37, -0.56, 0.85, -0.39
"""Correlations in run 70: BC2 energy with L3 energy and BC1 energy (of what is left), BC2 current with BC2 energy, dump charge
with L3 energy."""

BAD, NO_BEAM = 15360, 999358  # damageMask: the commonest of shots with normal X-rays, and of those without beam
FROZEN = {"ebeamL3Energy": 3478.167, "ebeamCharge": 0.001, "ebeamDumpCharge": 1.0753e9}  # readings without beam, run 70
ELECTRONS_PER_PC = 6_241_509.0


def generator(*seed: int) -> np.random.Generator:
    """Return the random numbers that belong to a tuple of whole numbers."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))


class Draws:
    """Random numbers of shots `index` (N,) of a run, and the drift at their times."""

    def __init__(self, params: SimulateParams, run: int, index: NDArray[np.int64], uniforms: int = 0) -> None:
        """Draw what the shots need: NUMBERS normal ones, `uniforms` uniform ones."""
        whole = np.empty((len(index), NUMBERS), np.int32)
        self.uniforms = np.empty((len(index), uniforms))
        for row, shot in enumerate(index.tolist()):
            rng = generator(params.seed, run, shot)
            whole[row] = rng.integers(-(2**31), 2**31, NUMBERS, np.int32)
            self.uniforms[row] = rng.random(uniforms)
        self._normals = draws.normal_quantiles(whole.ravel()).reshape(whole.shape).astype(np.float64)
        self._seed, self._times = params.seed, params.machine.drift
        self._seconds = start_of(params, run) + index / params.repetition_rate
        self._next = 0

    def gauss(self) -> Floats:
        """Return the next normal numbers (N,), of mean 0 and s.d. 1."""
        self._next += 1
        return np.asarray(self._normals[:, self._next - 1])

    def vary(self, shares: tuple[float, ...]) -> Floats:
        """Return the next numbers (N,) of mean 0 and s.d. 1 of which `shares` (2,) of the variance drift, slowly and fast."""
        slow, fast = shares
        values: Floats = np.sqrt(1 - slow - fast) * self.gauss()
        for number, (share, spacing) in enumerate(zip(shares, self._times, strict=True)):
            if share:
                values += np.sqrt(share) * drift((self._seed, self._next, number), self._seconds, spacing)
        return values

    def draw(self, quantity: tuple[float, float, float, float]) -> Floats:
        """Return the next values (N,) of a quantity of mean, s.d. and shares."""
        mean, deviation, *shares = quantity
        return mean + deviation * self.vary(tuple(shares))


def drift(seed: tuple[int, ...], seconds: Floats, spacing: float) -> Floats:
    """Return a random function of time at `seconds` (N,), of mean 0 and s.d. 1 at each, correlated over about `spacing`, s.

    Between independent normal numbers, one every `spacing`, with weights that go smoothly from one to the next and whose
    squares add up to 1.
    """
    knots = np.floor(seconds / spacing).astype(np.int64)
    part = seconds / spacing - knots
    first, place = np.unique(knots, return_inverse=True)
    values = np.array([[_knot(*seed, int(knot) + after) for after in (0, 1)] for knot in first])[place]
    later = part * part * (3 - 2 * part)
    weights = np.stack([1 - later, later], axis=1)
    return np.asarray((weights * values).sum(axis=1) / np.sqrt((weights * weights).sum(axis=1)))


@functools.lru_cache(maxsize=4096)
def _knot(*seed: int) -> float:
    return float(draws.normal(generator(seed[0], APPARATUS, DRIFT, *seed[1:]), 1)[0])


def start_of(params: SimulateParams, run: int) -> int:
    """Return the second at which a run starts."""
    return params.first_second + (run - params.first_run) * params.run_spacing


def event_keys(params: SimulateParams, run: int, index: NDArray[np.int64]) -> Columns:
    """Return seconds, nanoseconds and fiducials, (N,) int64 each, of the shots `index` (N,) of `run`.

    Shots follow one another at the repetition rate; no two shots of any run have the same seconds and nanoseconds.
    """
    start, rate = start_of(params, run), params.repetition_rate
    seconds = start + index // rate
    nanoseconds = index % rate * 1_000_000_000 // rate
    fiducials = (start * FIDUCIAL_RATE + index * (FIDUCIAL_RATE // rate)) % FIDUCIAL_LIMIT
    return dict(zip(EVENT_KEY, (seconds, nanoseconds, fiducials), strict=True))


def electron_beam(numbers: Draws, params: MachineParams) -> Columns:
    """Return the true electron-beam values (N,) by the experiment's names, before any is misread."""
    l3 = numbers.vary(params.l3_energy[2:])
    bc1 = numbers.vary(params.bc1_energy[2:])
    rest = np.sqrt(1 - BC2_ON_BC1 * BC2_ON_BC1) * numbers.vary(params.bc2_energy[2:]) + BC2_ON_BC1 * bc1
    bc2 = FROM_L3 * l3 + np.sqrt(1 - FROM_L3 * FROM_L3) * rest
    current = CURRENT_ON_BC2 * bc2 + np.sqrt(1 - CURRENT_ON_BC2**2) * numbers.vary(params.bc2_current[2:])
    charge = CHARGE_ON_L3 * l3 + np.sqrt(1 - CHARGE_ON_L3**2) * numbers.vary(params.charge[2:])
    energy = params.l3_energy[0] + params.l3_energy[1] * l3
    photon = params.photon_energy[0] * (energy / params.l3_energy[0]) * (energy / params.l3_energy[0])
    beam = {
        "ebeamL3Energy": energy,
        "ebeamCharge": 1e-3 * numbers.draw(params.gun_charge),
        "ebeamDumpCharge": ELECTRONS_PER_PC * (params.charge[0] + params.charge[1] * charge),
        "ebeamEnergyBC1": params.bc1_energy[0] + params.bc1_energy[1] * bc1,
        "ebeamEnergyBC2": params.bc2_energy[0] + params.bc2_energy[1] * bc2,
        "ebeamPkCurrBC1": numbers.draw(params.bc1_current),
        "ebeamPkCurrBC2": params.bc2_current[0] + params.bc2_current[1] * current,
        "ebeamXTCAVAmpl": numbers.draw(params.xtcav_amplitude),
        "ebeamXTCAVPhase": numbers.draw(params.xtcav_phase),
        "ebeamPhotonEnergy": photon + params.photon_energy[1] * numbers.gauss(),
        "ebeamLTU250": LTU_OF_L3[0] * (energy - params.l3_energy[0]) - 0.161,
        "ebeamLTU450": LTU_OF_L3[1] * (energy - params.l3_energy[0]) + 0.242,
    }
    for name, (median, deviation, with_l3) in OTHERS.items():
        beam[name] = median + deviation * (np.sqrt(1 - with_l3 * with_l3) * numbers.gauss() - with_l3 * l3)
    return beam


def misread(beam: Columns, present: NDArray[np.bool_], bad: NDArray[np.bool_]) -> Columns:
    """Return the electron-beam values (N,) as they were recorded, with `damageMask`: those without beam are frozen."""
    read = {name: np.where(present, values, FROZEN.get(name, 0.0)) for name, values in beam.items()}
    return {
        "bld.L3energy": read["ebeamL3Energy"],
        **{f"bld.ebeam.{name}": values.astype(np.float32) for name, values in read.items()},
        "bld.ebeam.damageMask": np.select([~present, bad], [NO_BEAM, BAD], 0).astype(np.int32),
    }
