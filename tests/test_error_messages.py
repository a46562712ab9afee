"""Every message for a user in the sources: `FILE or KEY: problem (found X, expected Y). Fix: ...`, in one line."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "server").glob("*.py")]
RAISED = {"UserError", "GitError", "warn"}  # what they are called with is a message, whatever is in it
VALUES = re.compile(r"\((found .+, )?expected .+\)")
MESSAGE = re.compile(r"(\S[^:]*: .+ \(.+\)|\{problem\} \(.+\)|\S[^:]*: .*\{\w+\})\. Fix: (.+)")
"""A name between braces: problem and values, or subject and problem, are a literal of their own."""

PASSED_ON = re.compile(r"(\{.*\}: )?(.*: )?\{.*\}")  # the message, or several, of another error
NOTHING_FOUND = re.compile(r"missing|not found|not installed|not an address")  # an address may hold a password
FILLER = re.compile(r"found (none|nothing|others|some|it), |expected (some|others|success|it there|its data)\)")
COMMAND = re.compile(r"\b(make (repro|tune|notes|ui|server)|(git|dvc|xtcav) [a-z]+)\b")


def text(node: ast.AST) -> str:
    """Return a literal as it reads in the source, with the expressions in it between braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [f"{{{ast.unparse(v.value)}}}" if isinstance(v, ast.FormattedValue) else text(v) for v in node.values]
        return "".join(parts)
    return text(node.left) + text(node.right) if isinstance(node, ast.BinOp) else f"{{{ast.unparse(node)}}}"


def messages() -> Iterator[tuple[str, str]]:
    """Yield place and text of each message: all that is raised or warned, and each literal with values or a fix."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        rules = "config" in path.parts or path.name == "experiments.py"  # their ValueErrors get the key as a prefix
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):  # outer literals come before what is in them
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            place = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if called in RAISED or (called == "ValueError" and rules):
                argument = node.args[0]
                skipped |= {id(inner) for inner in ast.walk(argument)}
                if not isinstance(argument, ast.Name | ast.Call):  # a message put together elsewhere, as a literal
                    yield place, f"{'KEY: ' if called == 'ValueError' else ''}{text(argument)}"
            elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in skipped:
                skipped |= {id(inner) for inner in ast.walk(node)}
                if re.search(r"\((found|expected) |Fix: ", text(node)):
                    yield place, text(node)


@pytest.mark.parametrize(("place", "message"), [pytest.param(*each, id=each[0]) for each in messages()])
def test_every_message_names_subject_problem_values_and_fix(place: str, message: str) -> None:
    if "(found " in message or "(expected " in message:
        values = VALUES.search(message)
        assert values
        assert values[1] or NOTHING_FOUND.search(message[: values.start()]), "found X, expected Y"
        assert not FILLER.search(values[0])
    if "Fix: " in message:
        whole = MESSAGE.fullmatch(message)
        assert whole
        assert not whole[2].endswith("."), "no period after the fix"
        assert not COMMAND.search(re.sub("`[^`]*`", "", whole[2])), "commands in backquotes"
    elif not VALUES.search(message):
        assert PASSED_ON.fullmatch(message)
