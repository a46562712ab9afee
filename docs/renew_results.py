"""Write into README.md and docs/*.md what the committed results say: every accuracy there, with its spread over seeds.

.venv/bin/python docs/renew_results.py

Text between `<!-- results NAME -->` and `<!-- end -->` is that of TEXTS. tests/test_accuracies.py holds it against the results.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from xtcav_ml.config.paths import CURVES, EVALUATION, EXPERIMENTS, GROUP, GROUP_PREDICTIONS, PREDICTIONS
from xtcav_ml.data import group_files, predictions, result_files
from xtcav_ml.tools import summary

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- results (?P<name>[\w-]+) -->)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
ADDRESS = "Report     file:///home/you/xtcav-ml/results/report.html\n"  # as it looks; each project has its own


def documents() -> list[Path]:
    """Return the files that may quote results."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def of_the_run(root: Path) -> str:
    """Return what `make repro` ends with, as a block of code."""
    screen = Console(file=io.StringIO(), width=160, soft_wrap=True, highlight=False, markup=False)
    measured = result_files.read_metrics(root / EVALUATION)
    for line in [*summary.results(measured), *summary.seeds(root)]:
        screen.print(line)
    screen.print(summary.confusion(measured, root / PREDICTIONS))
    with (root / CURVES).open(newline="") as file:
        rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    screen.print(f"Learning   {summary.learning(rows, measured['best_epoch'])}")
    return f"\n```\n{screen.file.getvalue()}{ADDRESS}```\n"


def of_the_seeds(root: Path) -> str:
    """Return the mean accuracy of the group of seeds with its spread."""
    if not (root / GROUP).is_file():
        return "not measured yet"
    group = json.loads((root / GROUP).read_text())
    return group_files.sentences(group)[0].replace(" %", "%").replace("%", " %")


def of_the_limits(root: Path) -> str:
    """Return what the noise of the labels allows."""
    found = result_files.read_metrics(root / EVALUATION)
    if "bayes_accuracy" not in found:
        return "not measured yet"
    best, low, high = (f"{100 * found[f'bayes_accuracy{end}']:.1f} %" for end in ("", "_low", "_high"))
    return (
        f"The stored label is that of noiseless waveforms in {100 * found['label_agreement']:.1f} % of the {found['shots']:,} "
        f"test shots. Whoever knows the pulses is right in {best} on average ({low} to {high}): the ceiling. The default "
        f"network is expected to be right in {100 * found['expected_accuracy']:.1f} %"
    )


PUBLISHED = {  # of the 6-layer network on 400 real shots: labels in rows, predictions in columns, per cent
    "no peaks": (98, 2, 0, 0),
    "t0": (9, 70, 0, 21),
    "t0 t1": (1, 0, 84, 15),
    "t0 t1 t2": (1, 5, 11, 83),
}


def of_the_confusion(root: Path) -> str:
    """Return the table of what each label is taken for, published and here: the default network, and the mean over seeds."""
    if not (root / GROUP).is_file():
        return "not measured yet"
    default = _rows(root / PREDICTIONS)
    lines = ["| label | published, % | default network, % | mean over seeds, % |", "|---|---|---|---|"]
    for (label, published), mean in zip(PUBLISHED.items(), mean_confusion(root), strict=True):
        shares = (" / ".join(f"{share:.0f}" for share in row) for row in (published, _taken_for(label, default), mean))
        lines.append(f"| *{label}* | {' | '.join(shares)} |")
    return "\n".join(["", "", *lines, "", ""])


def mean_confusion(root: Path) -> NDArray[np.float64]:
    """Return the shares of PUBLISHED (labels, predictions), per cent: the mean over the networks of the group of seeds."""
    group = predictions.by_seed(GROUP_PREDICTIONS.name, _rows(root / GROUP_PREDICTIONS)).values()
    return np.mean([[_taken_for(label, rows) for label in PUBLISHED] for rows in group], axis=0)


def _rows(path: Path) -> predictions.TableRows:
    return predictions.read_rows(path.name, path.read_text(encoding="utf-8"))


def _taken_for(label: str, rows: predictions.TableRows) -> list[float]:
    """Return the shares of the shots with `label` that were predicted as each class of PUBLISHED, per cent."""
    predicted = [row[predictions.PREDICTED] for row in rows if row[predictions.ACTUAL] == label]
    return [100 * predicted.count(name) / len(predicted) for name in PUBLISHED]


def of_the_notes_network(root: Path) -> str:
    """Return the accuracy of the notes' own 4-layer training, with their number of shots at full size."""
    path = root / EXPERIMENTS / "results/peaks-4-tensorflow.json"
    if not path.is_file():
        return "not measured yet"
    found = json.loads(path.read_text())
    reached, low, high = (f"{100 * found[name]:.1f} %" for name in ("accuracy", "accuracy_low", "accuracy_high"))
    return f"{reached} ({low} to {high}) of {found['validation_shots']} balanced validation shots, full-size frames"


MODERN = Path("benchmarks/modern.json")  # which benchmarks/modern.py writes
FITS = {"mean": "always the mean", "linear": "linear", "quadratic": "quadratic", "network": "network"}


def of_the_delay(root: Path) -> str:
    """Return the table of the mean absolute errors of the delay on real shots, and by how much the network is better."""
    found = json.loads((root / EXPERIMENTS / "results/delay-run70.json").read_text())
    each = {name: [one["mean_absolute_error"][name] for one in found["seeds"]] for name in FITS}
    gains = [1 - own / fit for own, fit in zip(each["network"], each["quadratic"], strict=True)]
    rows = [
        f"| {title} | {found[name]['mean']:.2f} | {found[name]['low']:.2f} to {found[name]['high']:.2f} | "
        f"{', '.join(f'{error:.2f}' for error in each[name])} |"
        for name, title in FITS.items()
    ]
    heading = ["| | mean, fs | 95 % interval over seeds | of each seed |", "|---|---|---|---|"]
    published = "| published, with slow values (EPICS), which are not public | below 1.6 | - | - |"
    better = f"The network is better than the quadratic fit by {100 * min(gains):.0f} to {100 * max(gains):.0f} %"
    return "\n".join(["", "", *heading, *rows, published, "", f"{better} on the minutes of each seed.", ""])


def of_modern(root: Path) -> str:
    """Return the accuracy of the modern network, and how it compares with the default one, over seeds and shots."""
    if not (root / MODERN).is_file():
        return "Its accuracy on the present data is not measured yet."
    found = json.loads((root / MODERN).read_text())
    gain = found["less_default"]
    value, low, high = (f"{100 * gain[name]:+.1f}" for name in ("difference", "low", "high"))
    better = {"modern": "better", "default": "worse", None: "not shown to be better or worse"}[gain["better"]]
    reached = group_files.sentences(found)[0].replace(" %", "%").replace("%", " %")
    return (
        f"On the {found['shots']:,} test shots: {reached}. The difference from the default network is {value} points "
        f"(95 % interval {low} to {high}, p = {gain['p']:.2g}): it is {better}. A difference of {100 * gain['found']:.1f} "
        "points would be found with 80 % power."
    )


TEXTS: dict[str, Callable[[Path], str]] = {
    "run": of_the_run,
    "seeds": of_the_seeds,
    "limits": of_the_limits,
    "confusion": of_the_confusion,
    "four-layers": of_the_notes_network,
    "delay": of_the_delay,
    "modern": of_modern,
}


def renewed(text: str, root: Path = ROOT) -> str:
    """Return a document with the results of the project in `root` in it. Raises KeyError for an unknown place."""
    return PLACE.sub(lambda place: f"{place[1]}{TEXTS[place['name']](root)}{place[4]}", text)


if __name__ == "__main__":
    for path in documents():
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
