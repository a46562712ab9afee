import re
from dataclasses import replace

import pytest

from tests.figures.searches import SPACE, TOO_LARGE, made_up, with_objectives
from tests.report.conftest import EVIL, Reader
from xtcav_ml.report import search


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The page on a made-up search, drawn once."""
    out = tmp_path_factory.mktemp("search") / "search.html"
    found = made_up()
    trials = [replace(trial, why=EVIL if trial.number == 1 else trial.why) for trial in found.trials]
    search.write_page(replace(found, trials=trials, summary={"Best": "trial 0", "How sure": EVIL}), out)
    return out.read_text(encoding="utf-8")


def test_the_page_has_the_summary_the_parameters_all_trials_and_the_pictures(text):
    shown = Reader(text)
    assert len(shown.named("svg")) == 8
    for part in ("Search peaks-0123abcd", "Best trial 0", "params.yaml", "All trials", "make dashboard", *SPACE):
        assert part in shown.text, part
    rows = [tag for tag in shown.named("tr") if "trial" in tag.get("class", "")]
    assert len(rows) == 30
    assert shown.text.count(TOO_LARGE) >= 3
    assert not shown.named("script")
    assert EVIL not in text


def test_each_mark_of_a_trial_says_what_it_is_and_makes_the_others_fade(text):
    for number in (0, 5, 9):
        marks = re.findall(rf'<g class="trial t{number}"><title>([^<]*)</title>', text)
        assert len(marks) == (
            1 if number == 9 else 1 + 2 + len(SPACE) + 1
        )  # history, rungs with the end of its line, slices, parallel
        assert all(mark.startswith(f"trial {number}: ") for mark in marks)
        assert f".linked:has(.t{number}:hover) .trial:not(.t{number})" in text
    assert "infeasible\nlearning_rate" in text
    assert not re.search(r'id="t\d+"', text)


def test_the_same_search_is_the_same_bytes_and_of_many_trials_none_is_linked_in_vain(tmp_path, monkeypatch):
    small = replace(
        made_up(12, stops=[]), repeats={}, importances={}, space={next(iter(SPACE)): SPACE[next(iter(SPACE))]}
    )
    for name in "ab":
        search.write_page(small, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    monkeypatch.setattr(search, "MOST_LINKED", 3)
    assert search.content(small)["linked"] == [0, 1, 2]


def test_with_several_objectives_the_front_comes_first_of_the_wide_charts_and_trials_have_their_costs():
    shown = search.content(with_objectives(made_up()))
    assert next(title for title, _ in shown["wide"]) == "The front of the objectives"
    found, row = with_objectives(made_up()), shown["trials"][1]["cells"]
    assert row[3] == search.text(found.trials[1].values[1])
    assert len(row) == 3 + 1 + len(SPACE)
