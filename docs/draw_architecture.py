"""Draws docs/architecture.svg: the rooms of the package, and the ways of a frame, a parameter and a metric through them."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

FLOORS = [
    {"cli": "one file per command"},
    {"pipeline": "stages of dvc.yaml", "tools": "what a person runs", "tuning": "Optuna", "notes2016": "the notes"},
    {"report": "one page", "tracking": "MLflow, registry"},
    {"learning": "Keras: networks, fit, checkpoints"},
    {"data": "HDF5, file formats", "lineage": "git, DVC, fingerprints", "figures": "matplotlib"},
    {"science": "arrays in, arrays out: simulation, images, labels, metrics"},
    {"config": "params.yaml as frozen sections, schema, paths"},
    {"system": "errors, atomic files, progress, interrupts, child processes"},
]
"""Highest first; a room imports only from floors below its own, or from its left on the same floor."""

COLOURS = {
    "cli": "#c9c9c9",
    "pipeline": "#f6c667",
    "tools": "#e9d8a6",
    "tuning": "#d9c2e9",
    "notes2016": "#e3d5ca",
    "report": "#bde0c0",
    "tracking": "#9ad1d4",
    "learning": "#f4a698",
    "data": "#a9c9f0",
    "lineage": "#c3d9a5",
    "figures": "#f2c4de",
    "science": "#ffe08a",
    "config": "#d3d3f3",
    "system": "#dddddd",
}

WAYS = {
    "a frame": [
        ("", "raw file\n*.h5"),
        ("data", "raw_file\nchecks, reads"),
        ("science", "images\ndark, mean, log"),
        ("pipeline", "prepare\nstreams, splits"),
        ("data", "prepared\ntrain.h5"),
        ("learning", "batches\nby (seed, epoch)"),
        ("learning", "networks\nprobabilities"),
        ("science", "metrics\nintervals"),
        ("figures", "confusion\nmatrix"),
    ],
    "a parameter": [
        ("", "params\n.yaml"),
        ("config", "train\ntyped, bounded"),
        ("cli", "train\nwires all"),
        ("pipeline", "train\nnames values"),
        ("learning", "fit\nuses it"),
        ("lineage", "lineage\nhash: the key"),
        ("tracking", "journal\na line"),
        ("", "MLflow\nparameter"),
    ],
    "a metric": [
        ("learning", "fit\nend of epoch"),
        ("pipeline", "train\nhistory.jsonl"),
        ("tracking", "journal\non disk"),
        ("tracking", "uploader,\nmlflow_writer"),
        ("", "MLflow\ntrain_accuracy"),
        ("data", "results\nread back"),
        ("report", "learning\ncurves"),
        ("", "report\n.html"),
    ],
}


def box(axes: Axes, x: float, y: float, width: float, height: float, colour: str, title: str, text: str) -> None:
    """Draw a rounded box with a bold title and a line of text."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", fc=colour, ec="#444444", lw=0.8
    )
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height * 0.68, title, ha="center", va="center", fontsize=9, weight="bold")
    axes.text(x + width / 2, y + height * 0.3, text, ha="center", va="center", fontsize=7)


def draw(path: Path) -> None:
    """Write the drawing to `path`."""
    plt.rcParams["svg.hashsalt"] = "xtcav"
    figure, axes = plt.subplots(figsize=(12, 10.5))
    axes.set_xlim(0, 12)
    axes.set_ylim(-4.6, 8.3)
    axes.axis("off")
    axes.text(0, 8.1, "Rooms: imports go down only", fontsize=11, weight="bold")
    for floor, rooms in enumerate(FLOORS):
        width = 12 / len(rooms)
        for i, (name, text) in enumerate(rooms.items()):
            box(axes, i * width + 0.05, 7 - floor + 0.05, width - 0.1, 0.9, COLOURS[name], name, text)
    for row, (name, steps) in enumerate(WAYS.items()):
        y = -1.45 - row * 1.4
        axes.text(0, y + 0.95, f"The way of {name}", fontsize=11, weight="bold")
        for i, (room, text) in enumerate(steps):
            title, _, rest = text.partition("\n")
            x = i * 12 / 9
            box(axes, x + 0.05, y, 1.08, 0.8, COLOURS.get(room, "white"), title, rest)
            if i + 1 < len(steps):
                axes.annotate(
                    "", (x + 12 / 9 + 0.04, y + 0.4), (x + 1.14, y + 0.4), arrowprops={"arrowstyle": "->", "lw": 1}
                )
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    draw(Path(__file__).with_name("architecture.svg"))
