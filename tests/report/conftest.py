"""Results as the stages leave them, of made-up predictions: no network is trained."""

import csv
import json
from html.parser import HTMLParser
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from xtcav_ml.report import page, results
from xtcav_ml.science import metrics

EVIL = "<script>alert(1)</script>"
CLASSES = ("t0 & t1", EVIL, "a")
"""Names that must be escaped, and not in alphabetical order."""

SHOTS = 120


class Reader(HTMLParser):
    """Collects the tags and the text of a document, and that all that is opened is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data.strip()] if data.strip() else []

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(folder, *names):
    """The page on the project in `folder`, with no sections but those named."""
    with mock.patch.object(page, "SECTIONS", {name: page.SECTIONS[name] for name in names}):
        return Reader(page.render(results.load_results(folder)))


def lay_results(folder, *, classes=CLASSES, numbers=(), right=0.8, epochs=6, seed=0):
    """Write results/ of a project: what evaluate, train and check write, and pictures. Returns the folder."""
    rng = np.random.default_rng(seed)
    results = folder / "results"
    (results / "plots").mkdir(parents=True, exist_ok=True)
    index = np.arange(SHOTS)  # of two experiments with the same run number
    columns = {"evt.seconds": index // 70, "evt.nanoseconds": 0 * index, "evt.fiducials": 3 * (index % 70)}
    columns |= {"run": [70] * SHOTS, "run.index": index % 70}
    values = {"best_epoch": epochs, "shots": SHOTS}
    if classes:
        truth = np.arange(SHOTS) % len(classes)
        said = np.where(rng.random(SHOTS) < right, truth, (truth + 1) % len(classes))
        likely = rng.dirichlet(np.ones(len(classes)), SHOTS) * 0.4
        likely[np.arange(SHOTS), said] += 0.6
        found = metrics.classification(truth, likely)
        columns |= {"actual": [classes[i] for i in truth], "predicted": [classes[i] for i in said]}
        columns |= {f"probability of {name}": [f"{p:.6f}" for p in likely[:, i]] for i, name in enumerate(classes)}
        values |= {name: value for name, value in vars(found).items() if not isinstance(value, np.ndarray)}
        values |= {"confusion": found.confusion.tolist(), "expected_calibration_error": 0.1, "brier": 0.3}
        bins = vars(metrics.calibration(truth, likely)).items()
        values["calibration"] = {
            name: np.where(np.isnan(bin_of), None, bin_of).tolist() for name, bin_of in bins if np.ndim(bin_of)
        }
        values["classes"] = {
            name: {"precision": p, "recall": r, "shots": SHOTS // len(classes), "auc": 0.9, "average_precision": None}
            for name, p, r in zip(classes, found.precision, found.recall, strict=True)
        }
    for name in numbers:
        truth = np.where(np.arange(SHOTS) < 20, np.nan, rng.normal(1000, 20, SHOTS))
        guess = truth + rng.normal(0, 5, SHOTS)
        columns |= {f"actual {name}": truth, f"predicted {name}": np.nan_to_num(guess)}
        values.setdefault("regression", {})[name] = vars(metrics.regression(truth, guess))
    with (results / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    (results / "evaluation.json").write_text(json.dumps(values, sort_keys=True))
    few = {name: value for name, value in values.items() if name.startswith("accuracy")}
    (results / "metrics.json").write_text(json.dumps(few or {"learned": "numbers"}))
    head = "accuracy" if classes else "squared_error"
    history = [
        {"epoch": i, f"train_{head}": i / 10, f"val_{head}": i / 11, "learning_rate": 0.1 / i, "gradient_norm": 1.0}
        | {"train_loss": 1 / i, "val_loss": 1 / i}
        | ({"train_cross_entropy": 1 / i, "val_cross_entropy": 1 / i} if classes else {})
        | {f"val_predicted.{name}": float(k == 1 and i < 3) for k, name in enumerate(classes)}
        for i in range(1, epochs + 1)
    ]
    (results / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    data = {"files": {"a.h5": 100, "b.h5": 50}, "bad_files": [f"{EVIL}: damaged"], "shots": 150}
    data |= {"shots_by_run": {"70": 150}, "shots_by_label": {}, "shots_with_number": dict.fromkeys(numbers, 100)}
    (results / "data.json").write_text(json.dumps(data))
    for name in ("frames", "mean_frames", "mistakes", "saliency"):
        Image.new("RGBA", (40, 30), (0, 0, 0, 0)).save(results / "plots" / f"{name}.png")
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    return lay_bare(tmp_path, monkeypatch)


def lay_bare(tmp_path, monkeypatch):
    """Go to a new folder with results and nothing else: no git, no data, no dvc.lock. Returns it."""
    folder = lay_results(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder
