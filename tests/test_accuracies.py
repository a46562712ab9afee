"""Every accuracy in README and docs is what a committed results file says, with its spread over seeds."""

import json
import re
import runpy
import subprocess

import pytest

from tests.conftest import ROOT
from xtcav_ml.config.paths import GROUP

RENEW = runpy.run_path(str(ROOT / "docs/renew_results.py"))
DOCUMENTS = RENEW["documents"]()

PERCENT = r"\d+(?:\.\d+)?(?= ?%)"
POINTS = re.compile(r"(?:\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|few))\s+points?\b")
FRACTION = re.compile(r"(?<![\d.])0\.[5-9]\d+(?!\d|\.\d|\s+(?:times|of the default's time))")  # as 0.85 for 85 %
OF_FRACTIONS = re.compile(r"accura|epochs|\bright\b|seeds? |scores?\b", re.IGNORECASE)
OF_ACCURACY = re.compile(r"accura|test shots|validation shots|seeds? |scores?\b", re.IGNORECASE)
NO_RESULT = re.compile(r"\d+ ?% ?(?:interval|power|bands?)|(?:interval|power) (?:of|is) \d+ ?%|below \d+\s%")
PUBLISHED = {
    form.format(float(number))
    for path in (ROOT / "experiments").glob("*.yaml")
    for line in re.findall(r"^published: .*", path.read_text(), re.MULTILINE)
    for number in re.findall(r"\d+(?:\.\d+)?", line)
    for form in ("{:g}", "{:.1f}")
}
"""What the notes of 2016 say, also rounded; docs may quote it."""

OTHERWISE = {
    "docs/models.md": ["cover less than 90 % of the champion's", "params.yaml, 2 points of accuracy"],
    "docs/training.md": ["An interval of at most 2 points to each side"],
    "docs/statistics.md": [
        "Two computations with other draws agree within 0.3 points",
        "may lose less than 5 points",
        "of 100 pairs that differ by four points by construction",
        "0.02, which is 2 points of accuracy",
        "with a margin of 2 points on",
        "The loss is 3.4 points",
        "the one which 90 % of the validation shots of the class reach",
        "the distance that 90 % of the validation shots are within",
    ],
}
"""Sentences with a percentage or points that are no result, word for word."""


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The results of the last commit: `make repro` with other parameters, or on another processor, may have made others."""
    folder = tmp_path_factory.mktemp("committed")
    names = ["results", "seeds", "dvc.lock", "data/raw/dvc.lock", "code", "experiments/results", "benchmarks"]
    archive = subprocess.run(["git", "archive", "HEAD", *names], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract"], cwd=folder, input=archive, check=True)
    return folder


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_quoted_results_are_those_of_the_files(path, committed):
    text = path.read_text()
    of_commit = RENEW["renewed"](text, committed)
    assert text in (of_commit, RENEW["renewed"](text)), "run `.venv/bin/python docs/renew_results.py`"


def accuracies(text: str) -> list[str]:
    """Return the sentences outside of marked places that have a share and speak of accuracy, or have points."""
    for kept in NO_RESULT.findall(text := RENEW["PLACE"].sub(" ", text)):
        text = text.replace(kept, " ")
    sentences = re.split(r"(?<=[.:;])\s|\n\s*\n|\n(?=[-|#])", text)
    return [
        " ".join(each.split())
        for each in sentences
        if POINTS.search(each)
        or (OF_ACCURACY.search(each) and set(re.findall(PERCENT, each)) - PUBLISHED)
        or (OF_FRACTIONS.search(each) and FRACTION.search(each))
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_accuracy_is_quoted_elsewhere(path):
    found = accuracies(path.read_text())
    kept = OTHERWISE.get(path.relative_to(ROOT).as_posix(), [])
    assert [each for each in found if not any(part in each for part in kept)] == []


@pytest.mark.parametrize(
    "text",
    [
        "It reaches 78.5 % of the test shots.",
        "| accuracy | 78.5% |",
        "The accuracy\nis 81 %.",
        "seeds give 82.6 %",
        "gave +3.7\npoints",
        "it was up to two points better",
        "longer is better (0.85 after 16 epochs)",
    ],
)
def test_an_accuracy_that_is_not_marked_is_found(text):
    assert accuracies(f"Words before.\n\n{text}\n\nWords after.") != []
    assert accuracies(f"Words before.\n\n<!-- results seeds -->{text}<!-- end -->\n") == []


def test_the_spread_is_that_of_five_seeds_or_more(committed):
    if (committed / GROUP).is_file():
        assert len(json.loads((committed / GROUP).read_text())["seeds"]) >= 5
    assert any("<!-- results seeds -->" in path.read_text() for path in DOCUMENTS)
    if (modern := committed / "benchmarks/modern.json").is_file():
        assert len(json.loads(modern.read_text())["seeds"]) >= 5
    assert len(json.loads((committed / "experiments/results/delay-run70.json").read_text())["seeds"]) >= 5
