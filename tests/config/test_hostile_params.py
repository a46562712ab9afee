"""params.yaml that is meant to harm, or that a slip has made so: one line within a second, whatever it is."""

import random
import re
import time

import pytest

from tests.conftest import ROOT
from xtcav_ml.config.parameters import rows
from xtcav_ml.config.params_file import load_params
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.notes2016 import experiments
from xtcav_ml.pipeline import validate
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import describe

DEFAULT = (ROOT / "params.yaml").read_text()
SECONDS = 10.0  # no timing: what expands without end takes minutes

LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40))])
BOMBS = {
    "laughs": LAUGHS,
    "laughs of mappings": "\n".join(
        ["b0: &b0 {x: 1}", *(f"b{i}: &b{i} {{x: *b{i - 1}, y: *b{i - 1}}}" for i in range(1, 60))]
    ),
    "laughs merged": "\n".join(
        ["c0: &c0 {x: 1}", *(f"c{i}: &c{i} {{<<: [*c{i - 1}, *c{i - 1}]}}" for i in range(1, 30))]
    ),
    "circle": "a: &a [*a]",
    "circle of a mapping": "a: &a {b: *a}",
    "NUL": "a: \0",
    "NUL in a text": 'data: {raw: "a\\0b"}',
    "half a character": 'data: {raw: "\\ud800"}',
    "digits": f"a: {'9' * 5000}",
    "hexadecimal digits": f"a: 0x{'f' * 5000}",
    "octal digits": f"a: 0o{'7' * 5000}",
    "exponent": "a: 1e999999999",
    "digits of a float": f"a: {'9' * 5000}.0",
    "levels": "a: " + "[" * 2000 + "]" * 2000,
    "levels of mappings": "a: " + "{x: " * 2000 + "}" * 2000,
    "levels by indent": "\n".join(" " * i + "x:" for i in range(300)),
    "levels of lists": "a:\n  " + "- " * 2000 + "x",
    "levels unclosed": "[" * 60_000,
    "questions": "? " * 2000,
    "long text": f"a: '{'x' * 60_000}'",
    "long key": f"{'x' * 900}: 1\n" * 2,
    "huge": "# " + "x" * 2**20,
    "many values": "a: [" + "1, " * 20_000 + "]",
    "anchors": "\n".join(f"a{i}: &a{i} x" for i in range(3000)),
    "python object": "!!python/object/apply:os.system ['true']",
    "python name": "a: !!python/name:os.system",
    "unknown tag": "a: !xyz 3",
    "binary": "a: !!binary '!'",
    "set": "a: !!set {x, y}",
    "omap": "a: !!omap [x: 1]",
    "no integer": "a: !!int x",
    "no float": "a: !!float x",
    "no date": "a: !!timestamp x",
    "date": "a: 2001-02-31",
    "key of a list": "? [a, b]\n: 1",
    "key of a mapping": "? {a: b}\n: 1",
    "keys": "1: x\nnull: y\ntrue: z\n1.5: 0",
    "key twice": "a: 1\na: 2",
    "tab": "a:\n\tb: 1",
    "directive": "%YAML 9.9\n---\na: 1",
    "tag directive": "%TAG ! tag:x\n---\na: 1",
    "documents": "a: 1\n---\nb: 2",
    "colon": ":",
    "alias": "a: *missing",
    "escape": 'a: "\\xZZ"',
    "unclosed": 'a: "',
    "scalar": "3",
    "list": "- 1",
    "null": "null",
    "lines": 'a: "x\\ny\\e[2J"',
    "key of lines": '"x\\ny\\e[2J": 1',
}

VALUES = [
    *(
        "null",
        "true",
        "[]",
        "{}",
        "''",
        "0",
        "-1",
        "1e400",
        "-.inf",
        ".nan",
        "1e-320",
        "9" * 30,
        "0x10",
        "1_000",
        "[[[]]]",
    ),
    *(
        "{a: {b: [1]}}",
        "'x'",
        '"\\0"',
        '"a\\nb"',
        '"\\e[31m"',
        '" x"',
        "x" * 300,
        "2001-01-01",
        "!!binary aGk=",
        "!!set {a}",
    ),
    *(
        "!!python/name:os.system",
        "*x",
        "&x y",
        "[1, 2, 3, 4, 5, 6, 7]",
        "[null, null]",
        "['a', 'a']",
        "(((((((((",
        "~",
        "é\u202e",
    ),
    *(
        "1" * 5000,
        "[" * 500 + "]" * 500,
        "\u2028",
        "<<",
        "? x",
        "%",
        "@",
        "`",
        "|\n",
        "1.5",
        "4095",
        "32768",
        "100000000",
    ),
]


def mutation(seed: int) -> bytes:
    """Return params.yaml with one or a few things changed."""
    choose = random.Random(seed)
    text = DEFAULT
    for _ in range(choose.choice([1, 1, 1, 2, 4])):
        lines = text.splitlines()
        place = choose.randrange(len(lines))
        line = lines[place]
        match choose.randrange(12):
            case 0 | 1 | 2 | 3 | 4:  # another value
                lines[place] = re.sub(r": [^#]*", lambda _: f": {choose.choice(VALUES)} ", line, count=1)
            case 5:  # another key
                lines[place] = re.sub(r"[a-z_0-9]+:", lambda _: f"{choose.choice(VALUES)}:", line, count=1)
            case 6:
                lines.insert(place, choose.choice(list(BOMBS.values()))[:5000])
            case 7:
                lines.insert(choose.randrange(len(lines)), line)
            case 8:
                del lines[place : place + choose.choice([1, 1, 3, 30])]
            case 9:
                lines[place] = choose.choice(["\t", " ", "  ", "- ", "? ", "!x ", "&a ", '"']) + line
            case 10:
                word = re.search(r"[A-Za-z0-9.]+", line)
                if word:
                    lines[place] = line.replace(word[0], choose.choice(VALUES), 1)
            case _:
                content = bytearray("\n".join(lines).encode())
                for _ in range(choose.choice([1, 5, 50])):
                    content[choose.randrange(len(content))] = choose.randrange(256)
                return bytes(content)
        text = "\n".join(lines) + "\n"
    return text.encode("utf-8", "surrogatepass")


def judge(content: bytes, folder) -> str:
    """Return the one line with which the commands that read only params.yaml refuse it; nothing if they do not."""
    path = folder / "params.yaml"
    path.write_bytes(content)
    began, message = time.process_time(), ""
    try:
        params = load_params(path)
        rows(params)
        validate.validate_params(params, folder / "valid.txt")
        describe.describe_network(params)
        Ends.of(LearningSpec.of(params.prepare, params.data.frame_shape, dark=None))
    except UserError as error:
        message = str(error)
    seconds = time.process_time() - began  # of this process: the machine may be busy
    assert message.isprintable(), message
    assert seconds < SECONDS, f"{seconds:.1f} s"
    return message


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(validate.git, "problem", lambda: "")
    return tmp_path


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line_alone_and_beside_the_sections(name, project):
    for content in (BOMBS[name].encode(), f"{DEFAULT}\n{BOMBS[name]}\n".encode(), f"{BOMBS[name]}\n{DEFAULT}".encode()):
        message = judge(content, project)
        assert "Fix: " in message
        assert len(message) < 5000


def test_bytes_that_are_no_text_are_one_line_and_a_mark_at_the_start_is_read(project):
    assert "no sections" in judge(b"", project)
    for content in (b"\xff\xfe" + DEFAULT.encode("utf-16-le"), b"a: \xe9", DEFAULT.encode("utf-16")):
        assert "not UTF-8" in judge(content, project)
    assert judge(b"\xef\xbb\xbf" + DEFAULT.encode(), project) == ""


def test_a_changed_file_is_valid_or_one_line(project):
    for seed in range(25):
        judge(mutation(seed), project)


@pytest.mark.slow
def test_two_thousand_changed_files_are_valid_or_one_line_each(project):
    refused = sum(bool(judge(mutation(seed), project)) for seed in range(2000))
    assert refused > 1000
    print(f"{refused} of 2000 refused, each in one line within {SECONDS} s; the others are valid")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_an_experiment_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "params.yaml").write_text(DEFAULT)
    plain = (ROOT / "experiments/signal-40.yaml").read_text()
    (tmp_path / "experiments/bad.yaml").write_text(f"{plain}\n{BOMBS[name]}\n")
    with pytest.raises(UserError) as error:
        experiments.train_params("bad")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "key", ["train.model.blocks.²", f"train.model.blocks.{'9' * 5000}.kernel", "train", "", ".", "a\nb"]
)
def test_an_odd_name_in_the_search_space_is_one_line(key, project, params):
    space = params.tune.space | {key: next(iter(params.tune.space.values()))}
    tune = params.tune.model_copy(update={"space": space})
    with pytest.raises(UserError) as error:
        validate.validate_params(params.model_copy(update={"tune": tune}), project / "valid.txt")
    assert str(error.value).isprintable()


def test_names_that_cannot_be_shown_are_refused(project):
    for name in ('"a\\nb"', '"a\\e[2Jb"', '" t0"', "'t0 '", "''", '"\\u202e"', '"\\u2028"', f"'{'x' * 101}'"):
        for old in ("[no peaks, t0, t0 t1, t0 t1 t2]", "acq.peaksLabel "):
            new = f"[no peaks, {name}, t0 t1, t0 t1 t2]" if old.startswith("[") else f"{name} "
            message = judge(DEFAULT.replace(old, new, 1).encode(), project)
            assert (
                re.search(r"prepare\.(classes\.1|label): (a name that cannot be shown|invalid value)", message)
                or "not shown" in message
            )
    for name in ("<b>t0</b>", "'a,b'", "'=1+1'", "'[red]x'", "'|'", "é Ω"):
        assert judge(DEFAULT.replace("[no peaks, t0, t0", f"[no peaks, {name}, t0", 1).encode(), project) == ""
