"""What the page of a study's run opens with in MLflow: what is searched, what was found, how to repeat it."""

from collections import Counter

from optuna import Study

from xtcav_ml.config.space import Values
from xtcav_ml.config.tune import Choices, Range, TuneParams
from xtcav_ml.tracking.runs import NOTE_CHARACTERS, markdown_table
from xtcav_ml.tuning import studies


def description(study: Study, tune: TuneParams, baseline: Values, score: str, commit: str) -> str:
    """Return it in Markdown; `baseline` are the parameters of params.yaml by dotted names, `score` is what is maximized."""
    ended = studies.ended(study)
    best = studies.best(study)
    states = ", ".join(f"{count} {state.name.lower()}" for state, count in Counter(one.state for one in ended).items())
    found = f"**Best: trial {best.number}, {score} {best.value:.3f}**" if best else "No trial is complete yet"
    rows = [
        [name, _searched(values), str(baseline.get(name, "")), _value(best.params.get(name, "")) if best else ""]
        for name, values in tune.space.items()
    ]
    lines = [
        f"{found}; {len(ended)} of {tune.trials} trials have ended ({states or 'none'}), {tune.epochs} epochs "
        "for those that were not stopped at a rung",
        markdown_table(["searched by Optuna", "values", "params.yaml", "best trial"], rows),
        f"To repeat or continue it: `make tune` at commit `{commit[:12]}`, with the same data. `xtcav promote` writes the best "
        "parameters into params.yaml; `make dashboard` shows the trials beside each other.",
    ]
    return "\n\n".join(lines)[:NOTE_CHARACTERS] + "\n"


def _searched(values: Range | Choices) -> str:
    if isinstance(values, Choices):
        return ", ".join(map(str, values.choices))
    how = [" logarithmic" if values.log else "", f" in steps of {values.step}" if values.step else ""]
    return f"{values.low} to {values.high}{''.join(how)}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
