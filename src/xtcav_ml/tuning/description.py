"""What the page of a study's run opens with in MLflow: what is searched, what was found, how to repeat it."""

from collections.abc import Mapping, Sequence

from optuna import Study
from optuna.trial import FrozenTrial

from xtcav_ml.config.space import Values
from xtcav_ml.config.tune import Choices, Range, TuneParams
from xtcav_ml.tracking.runs import NOTE_CHARACTERS, markdown_table
from xtcav_ml.tuning import objectives, outcome, rungs, states, studies, warm

SAID = ("How sure", "Mattered")
"""Sentences of the summary that are repeated."""


def description(
    study: Study, tune: TuneParams, baseline: Values, score: str, commit: str, summary: Mapping[str, str] | None = None
) -> str:
    """Return it in Markdown; `baseline` are the parameters of params.yaml by dotted names, `score` is what is maximized."""
    ended = studies.ended(study)
    best = outcome.best_known(study)
    counts = states.counted(study.get_trials(deepcopy=False), rungs.stops(tune.epochs, tune.rungs))
    found = (
        f"**Best: trial {best.number}, {score} {objectives.score(best):.3f}**" if best else "No trial is complete yet"
    )
    rows = [
        [name, _searched(values), str(baseline.get(name, "")), _value(best.params.get(name, "")) if best else ""]
        for name, values in tune.space.items()
    ]
    lines = [
        f"{found}; {len(ended)} of {tune.trials} trials have ended ({counts or 'none'}), {tune.epochs} epochs "
        "for those that were not stopped at a rung",
        *(f"**{heading}**: {summary[heading]}" for heading in SAID if summary and heading in summary),
        markdown_table(["searched by Optuna", "values", "params.yaml", "best trial"], rows),
        *_front(studies.front(study), tune),
        *(f"Its start-up follows borrowed trials: {words}." for words in warm.tags(study.user_attrs).values()),
        f"To repeat or continue it: `make tune` at commit `{commit[:12]}`, with the same data. `xtcav promote` writes the best "
        "parameters into params.yaml. Pictures: the artifact search.html, or `make dashboard`.",
    ]
    return "\n\n".join(lines)[:NOTE_CHARACTERS] + "\n"


def _front(front: Sequence[FrozenTrial], tune: TuneParams) -> list[str]:
    """Return the trials of the front in a table; nothing of a search with one objective."""
    if len(tune.objectives) == 1 or not front:
        return []
    heads = ["on the front", "score", *(objectives.UNITS[name] for name in tune.objectives[1:])]
    rows = [[f"trial {one.number}", *(_value(value) for value in one.values)] for one in front]
    return [markdown_table(heads, rows)]


def _searched(values: Range | Choices) -> str:
    if isinstance(values, Choices):
        return ", ".join(map(str, values.choices))
    how = [" logarithmic" if values.log else "", f" in steps of {values.step}" if values.step else ""]
    return f"{values.low} to {values.high}{''.join(how)}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
