"""What is wrong with a text that is no YAML: line, column and cause in words, in place of the parser's."""

import re
from pathlib import Path

from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StringMark

from xtcav_ml.system.errors import cut

CAUSES = (
    (r"'\\t' that cannot start", "a tab", "spaces", "indent with spaces"),
    (r"undefined alias", "an alias (*) of no anchor (&)", "a value", "put the text in quotes, or write the value out"),
    (
        r"could not find expected ':'",
        "a key without a colon and a space after it",
        "`key: value`",
        "write `key: value`",
    ),
    (r"mapping values are not allowed", "a second colon in a line", "`key: value`", "put the value in quotes"),
    (r"scanning a quoted scalar", "an open quote", "one at its end too", "close it"),
    (r"parsing a flow (sequence|mapping)", "an open bracket", "one at its end too", "close it"),
    (
        r"found '<block (mapping|sequence) start>'",
        "another indentation than that of the keys above",
        "the same",
        "align it with them",
    ),
    (r"found another document", "a line ---, with which another document begins", "one document", "remove it"),
    (r"constructor for the tag", "a tag (!)", "a value", "put the text in quotes"),
    (r"'[@`%]' that cannot start", "a character that begins no value", "a value", "put the text in quotes"),
    (r"indentation indicator", "a text of several lines (| or >)", "a value", "put the text in quotes"),
    (r"mapping keys are not allowed", "a question mark in front", "a value", "put the text in quotes"),
    (
        r"sequence entries are not allowed",
        "a dash after a colon",
        "`key: [...]`, or a line for each dash",
        "remove the dash, or write `[...]`",
    ),
    (r"unknown escape character", "a backslash in double quotes", "single quotes", "put the text in single quotes"),
    (
        r"but found '<scalar>'",
        "text after the end of a value",
        "one value",
        "close the quote that is open, here or above",
    ),
)
"""What the parser says, as a regular expression; what was found in words, what is expected, and the cure."""

AT_CONTEXT = ("a key without", "an open")
"""Causes that begin where the parser says that its context does, not where it gave up."""


def explain(error: MarkedYAMLError, path: Path) -> str:
    """Return the whole message: file, line and column, problem, what was found and is expected, and the cure."""
    problem, context = error.problem or "", error.context or ""
    place = _place(error.problem_mark)
    if isinstance(error, DuplicateKeyError):
        key = re.search(r'duplicate key "(.*?)"', problem)
        twice = cut(key[1]) if key else "one"
        return f"{path}{place}: key twice (found {twice!r} again, expected it once). Fix: remove one"
    if conflict := _conflict(path):
        return conflict
    for pattern, found, expected, cure in CAUSES:
        if re.search(pattern, f"{context} {problem}"):
            place = _place(error.context_mark) if found.startswith(AT_CONTEXT) and error.context_mark else place
            return f"{path}{place}: invalid YAML (found {found}, expected {expected}). Fix: {cure}"
    return f"{path}{place}: invalid YAML (found {cut(' '.join(problem.split()))!r}, expected keys and values). Fix: correct it"


def _conflict(path: Path) -> str:
    """Return the message for a file in which git has left two versions; "" if it has not."""
    for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1):
        if re.match(r"(<{7}|={7}|>{7})( |$)", line):
            return (
                f"{path}, line {number}, column 1: two versions of a merge (found git's mark of a conflict, expected one "
                "version). Fix: keep one, and remove the lines with marks"
            )
    return ""


def _place(mark: StringMark | None) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
