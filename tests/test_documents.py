"""What the documents promise of the code and of the tests, held against both."""

import re

import pytest

from tests.conftest import ROOT, THOROUGH
from tests.test_architecture import PACKAGE, ROOMS

ROWS = [
    line.strip("|").split(" | ") for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if "/test_" in line
]
PROMISES = [[cell.strip() for cell in row] for row in ROWS if len(row) == 3]


def test_nothing_needs_the_server_and_it_needs_only_the_lowest_room():
    texts = {path: path.read_text() for path in (*PACKAGE.rglob("*.py"), *(ROOT / "server").glob("*.py"))}
    assert not [
        path for path in PACKAGE.rglob("*.py") if "from server" in texts[path] or "import server" in texts[path]
    ]
    needed = {
        name for path in texts if path.parent.name == "server" for name in re.findall(r"xtcav_ml\.(\w+)", texts[path])
    }
    assert needed == {"system"}


def test_the_document_lists_the_rooms_in_this_order():
    rows = re.findall(r"^\| `(\w+)(?:\.py)?` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    assert rows == list(ROOMS)[::-1]


@pytest.mark.parametrize(("promise", "names", "tier"), PROMISES)
def test_the_tests_of_a_promise_exist_in_its_tier(promise, names, tier):
    folder, thorough = "", []
    for name in re.findall(r"(?:\w+/)*test_\w+", names):
        folder = name.rpartition("/")[0] or folder
        files = [f"{folder}/{name.rpartition('/')[2]}.py".lstrip("/"), f"{name}.py"]
        (file,) = {file for file in files if (ROOT / "tests" / file).is_file()}
        thorough.append(file in THOROUGH)
    if tier in ("fast", "thorough"):
        assert set(thorough) == {tier == "thorough"}


def test_the_readme_is_short_and_its_sentences_too():
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 9_000
    prose = re.sub(r"```.*?```|^\|.*$|^#.*$", "", text, flags=re.DOTALL | re.MULTILINE)
    lengths = [
        len(each.split()) for each in re.split(r"[.:?!](?:\s|$)|\n\s*\n|^- ", prose, flags=re.MULTILINE) if each.split()
    ]
    assert sum(length <= 25 for length in lengths) >= 0.9 * len(lengths)
