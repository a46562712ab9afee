"""The summary of a search, on one page: how much better than params.yaml, how sure, what mattered, which trial to promote."""

from pathlib import Path

from optuna import Study

from xtcav_ml.config.paths import SEARCH_PAGE
from xtcav_ml.science import search
from xtcav_ml.science.search import FEW_TRIALS, Search, Trial, shortened
from xtcav_ml.system.progress import console, labelled, titled_table
from xtcav_ml.tuning import rungs, states, studies, warm

NAMED = 3  # parameters of those that mattered


def sentences(study: Study, found: Search, how_sure: str, advice: str) -> dict[str, str]:
    """Return the sentences by their headings; `how_sure` compares with params.yaml, `advice` is what to do next."""
    said = {"Search": _spent(study, found), "Best": _best(found), "Front": _front(study), "How sure": how_sure}
    said |= {"Mattered": _mattered(found), "Borrowed": _borrowed(study), "Next": advice}
    return {heading: sentence for heading, sentence in said.items() if sentence}


def _spent(study: Study, found: Search) -> str:
    """Return how many trials there are in each state, and how many epochs they took."""
    trials = study.get_trials(deepcopy=False)
    spent, whole = sum(trial.epochs for trial in found.trials), found.epochs * len(search.scored(found.trials))
    saved = f" instead of {whole:,} without rungs" if found.stops else ""
    repeated = len(trials) - len(rungs.searched(trials))
    more = f"; {repeated} trainings with other seeds" if repeated else ""
    return f"{len(found.trials)} trials: {states.counted(trials, found.stops)}; {spent:,} epochs trained{saved}{more}"


def _best(found: Search) -> str:
    """Return the score of the best trial, and that of params.yaml's own."""
    best = _of(found, found.best)
    if best is None:
        return "no trial is complete yet"
    own = next((trial for trial in found.trials if trial.params == found.baseline and trial.score is not None), None)
    beside = ""
    if own is not None and own is not best:
        early = f" after epoch {own.epochs}, where it stopped" if own.epochs < found.epochs else ""
        beside = f"; params.yaml {own.score:.3f}{early}"
    return f"trial {best.number}, {found.scored_by} {best.score:.3f}{beside}"


def _front(study: Study) -> str:
    """Return the trials of the Pareto front; empty for one objective."""
    if len(study.directions) == 1:
        return ""
    numbers = [trial.number for trial in studies.front(study)]
    shown = f"{'trials' if len(numbers) > 1 else 'trial'} {', '.join(map(str, numbers))}"
    return f"{shown}: no other beats them in all objectives; `.venv/bin/xtcav promote NUMBER` takes one of them"


def _borrowed(study: Study) -> str:
    """Return what the start-up has borrowed; empty if that is nothing."""
    return "".join(f"the start-up follows {words}" for words in warm.tags(study.user_attrs).values())


def _of(found: Search, number: int | None) -> Trial | None:
    return next((trial for trial in found.trials if trial.number == number), None)


def _mattered(found: Search) -> str:
    """Return the most important parameters with their shares; empty if there are too few trials for any."""
    if not found.importances:
        return ""
    able, names = len(search.scored(found.trials)), shortened(list(found.space))
    first = list(found.importances.items())[:NAMED]
    rough = "; so few trials give a rough guess" if able < FEW_TRIALS else ""
    shown = ", ".join(f"{names[name]} {share:.0%}" for name, share in first)
    return f"{shown} of what tells the best of {able} trials from the others{rough}"


def print_summary(found: Search, out: Path) -> None:
    """Print the sentences, the parameters of the best trial beside those of params.yaml, and where the pictures are."""
    screen = console()
    screen.print()
    where = {
        "Pictures": (out / SEARCH_PAGE.name).resolve().as_uri(),
        "More": "`make dashboard` opens Optuna's plots of this search, `make ui` its runs",
    }
    for heading, sentence in {**found.summary, **where}.items():
        if heading == "Next":
            _print_parameters(found)
        screen.print(labelled(heading, sentence, screen.width))


def _print_parameters(found: Search) -> None:
    best = _of(found, found.best)
    if best is None:
        return
    table = titled_table("", ["parameter", "params.yaml", f"trial {best.number}"], {"parameter"})
    for name in found.space:
        table.add_row(name, *(_text(values.get(name, "")) for values in (found.baseline, best.params)))
    console().print(table)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
