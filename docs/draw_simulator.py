"""Draw docs/simulator.png from the simulated files (make repro first): what the simulator makes, beside what is published.

.venv/bin/python docs/draw_simulator.py
"""

from pathlib import Path

import h5py
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from xtcav_ml.config.base import load_section
from xtcav_ml.config.schema import PEAK_CLASSES
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.figures.drawing import STYLE

ROOT = Path(__file__).parents[1]
AXES = load_section("simulate", SimulateParams, ROOT / "params.yaml").calibration
PUBLISHED = (0.10, 0.06, 0.43, 0.41)
COLOURS = ("#0072b2", "#56b4e9", "#e69f00", "#d55e00")  # Okabe and Ito: told apart by all eyes
FRAMES = 120  # a class, for projections and pixels


def read(names: list[str]) -> dict[str, np.ndarray]:
    """Return columns of all lasing shots."""
    files = [h5py.File(path) for path in sorted((ROOT / "data/raw/simulated").glob("*.h5"))]
    lasing = [file for file in files if file["lasing"][0]]
    return {name: np.concatenate([file[name][:] for file in lasing]) for name in names}


def frames(run: str, count: int) -> np.ndarray:
    """Return the first frames of a run, ADU."""
    with h5py.File(next((ROOT / "data/raw/simulated").glob(f"*r{run}-c0000.h5"))) as file:
        return file["xtcavimg"][:count].astype(np.float32)


def main() -> None:
    """Draw the six panels, and print the numbers that docs/simulator.md quotes."""
    shots = read(["acq.peaksLabel", "truth.label", "truth.loss1", "truth.loss2", "truth.energy1", "truth.energy2"])
    label = shots["acq.peaksLabel"]
    labelled = label >= 0
    with mpl.rc_context({**STYLE, "savefig.dpi": 90, "text.parse_math": True}):
        figure = Figure(figsize=(13, 7.5))
        mix, pixels, energy, time, waves, loss = figure.subplots(2, 3).ravel()

        share = np.bincount(label[labelled], minlength=4) / labelled.sum()
        mix.bar(np.arange(4) - 0.2, PUBLISHED, 0.4, color="#bbbbbb", label="published")
        mix.bar(np.arange(4) + 0.2, share, 0.4, color=COLOURS, label="simulated")
        mix.set_xticks(range(4), PEAK_CLASSES)
        mix.set(ylabel="share of labelled shots", title="label mix, runs 70 and 71")
        mix.legend()

        off = frames("069", 60)
        bins = np.geomspace(1, 4100, 120)
        pixels.hist(off.ravel(), bins, histtype="step", color="#8a8a8a", density=True, label="no-lasing run")
        pixels.hist(
            frames("070", 60).ravel(), bins, histtype="step", color=COLOURS[3], density=True, label="lasing run"
        )
        pixels.set(
            xscale="log", yscale="log", xlabel="pixel above the dark level, ADU", ylabel="density", title="pixels"
        )
        pixels.legend()

        with h5py.File(next((ROOT / "data/raw/simulated").glob("*r070-c0000.h5"))) as file:
            first_label, trace = file["acq.peaksLabel"][:], file["acq.waveforms"][:]
            trace = (trace / np.median(np.abs(trace), axis=-1, keepdims=True))[
                :, [c for c in range(16) if c not in (8, 11)]
            ]
            for value, name in enumerate(PEAK_CLASSES):
                rows = np.flatnonzero(first_label == value)[:FRAMES]
                mean = np.mean([file["xtcavimg"][row].astype(np.float32) for row in rows], axis=0)
                energy.plot(
                    AXES.energy_per_row * (np.arange(726) - 362.5), mean.sum(axis=1), color=COLOURS[value], label=name
                )
                time.plot(
                    AXES.time_per_column * (np.arange(568) - 283.5), mean.sum(axis=0), color=COLOURS[value], label=name
                )
                waves.plot(trace[first_label == value].mean(axis=(0, 1)), color=COLOURS[value], label=name)
        energy.set(xlabel="energy from the middle, MeV", ylabel="ADU", title="mean projection on energy", yscale="log")
        energy.set_ylim(bottom=100)
        time.set(xlabel="time from the middle, fs", ylabel="ADU", title="mean projection on time")
        waves.set(xlabel="sample", ylabel="channel / its median |value|", title="mean waveform, not channels 8 and 11")
        for axes in (energy, time, waves):
            axes.legend()

        total = np.maximum(shots["truth.loss1"], shots["truth.loss2"])
        parts = [total[label == value] for value in range(4)]
        boxes = loss.boxplot(parts, whis=(5, 95), showfliers=False, patch_artist=True, medianprops={"color": "#222222"})
        for box, colour in zip(boxes["boxes"], COLOURS, strict=True):
            box.set(facecolor=colour, alpha=0.6)
        loss.set_xticks(range(1, 5), PEAK_CLASSES)
        loss.set(
            ylabel="largest true loss of either bunch, MeV",
            title="energy loss (box: half, line: 90 %)",
        )
        figure.savefig(ROOT / "docs" / "simulator.png", metadata={"Software": None})
    agree = (shots["truth.label"] == label)[labelled].mean()
    print(f"labelled {labelled.sum()} of {len(label)}; mix " + " / ".join(f"{100 * part:.1f}" for part in share))
    print(f"label as noiseless waveforms would give it: {agree:.1%} of labelled shots")
    for value, name in enumerate(PEAK_CLASSES):
        agree = np.mean(shots["truth.label"][label == value] == value)
        print(f"  {name}: median loss {np.median(parts[value]):.2f} MeV, agrees {agree:.1%}")


if __name__ == "__main__":
    main()
