import ast
import functools
import re
import shutil

import pytest

from tests.conftest import ROOT
from xtcav_ml.lineage import fingerprint
from xtcav_ml.lineage.fingerprint import PACKAGE, PROGRAMS
from xtcav_ml.lineage.used_code import INERT, Package, _Module
from xtcav_ml.system.errors import UserError

VERSIONS = {"numpy": "2.0", "keras": "3.0", "tensorflow": "2.0", "pillow": "11.0", "tqdm": "4.0"}
PARTS = '''
"""Parts."""
import numpy as np
import tqdm

STEP = 3
UNUSED = 4
TABLE = {"half": np.half, "twice": None}

def step(x, size=STEP):
    """One step."""
    if x < 0:
        raise ValueError(f"x: {x} is less than {UNUSED}")
    print("step", UNUSED)
    return np.exp(x) + size

def other(x, size=5):
    return tqdm.tqdm(x)

class Shape:
    """A shape."""
    sides: int = 3

    def area(self):
        return other(self.sides)
'''
MAIN = """
from toy.parts import step as one
from toy import parts

def run(x):
    return one(x)

def chosen(name):
    return parts.TABLE[name]

def handed():
    return use(parts)

def use(module):
    return module

def shaped(parts):
    shapes = [other for other in range(3)]
    return parts.other, shapes
"""


@pytest.fixture
def code(tmp_path):
    """Return a function from sources (by module, those of the toy by default) and an entry to the code."""

    def made(entry="main:run", versions=VERSIONS, **sources):
        folder = tmp_path / "toy"
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in {"main": MAIN, "parts": PARTS, **sources}.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return fingerprint.code_of(Package(folder), [entry], versions)

    return made


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""One step."""', '"""Another text."""'),
        ('"""One step."""', "# a comment"),
        ("size=STEP", "size = STEP"),
        ("size=5", "size=6"),
        ("UNUSED = 4", "UNUSED = 5"),
        ("is less than", "must be more than"),
        ('print("step", UNUSED)', 'print("a step")'),
        ('print("step", UNUSED)', ""),
        ("sides: int = 3", "sides: int = 4"),
        ("class Shape", "def new(x):\n    return step(x)\n\nclass Shape"),
        ("import tqdm", "import tqdm\nimport zlib"),
        ("import numpy as np", "import numpy"),
    ],
)
def test_what_is_not_used_or_is_for_people_changes_nothing(code, old, new):
    assert PARTS.count(old) == 1
    text = PARTS.replace(old, new)
    assert code(parts=text.replace("np.", "numpy.") if new == "import numpy" else text) == code()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size=STEP", "size=4"),
        ("STEP = 3", "STEP = 4"),
        ("np.exp(x)", "np.log(x)"),
        ("x < 0", "x <= 0"),
        ("UNUSED = 4", "UNUSED = 4\nSTEP += 1"),
        ("UNUSED = 4", "UNUSED = 4\nnp.seterr(all='raise')"),
        ("raise ValueError", "raise TypeError"),
        ("def step(x, size=STEP)", "def step(x: int, size=STEP)"),
        ('print("step", UNUSED)', 'print("step", file=x)'),
        ("import numpy as np", "import math as np"),
        ('"""Parts."""', "if True:\n    STEP = 5"),
    ],
)
def test_what_is_used_changes_the_fingerprint_and_names_the_module(code, old, new):
    assert PARTS.count(old) == 1
    before, after = code(), code(parts=PARTS.replace(old, new))
    assert before.fingerprint != after.fingerprint
    assert [name for name in before.differing(after) if "(" not in name] == ["parts"] or "math" in new


@pytest.mark.parametrize(
    ("entry", "old", "new"),
    [
        ("main:chosen", "np.half", "np.single"),
        ("main:handed", "sides: int = 3", "sides: int = 4"),
        ("main:handed", "size=5", "size=6"),
        ("parts:Shape", "size=5", "size=6"),
        ("parts:Shape", "return other(self.sides)", "return other(1 + self.sides)"),
    ],
)
def test_tables_classes_and_modules_that_are_handed_on_count_as_a_whole(code, entry, old, new):
    assert code(entry).fingerprint != code(entry, parts=PARTS.replace(old, new)).fingerprint


def test_a_variable_of_a_module_s_name_is_not_that_module(code):
    assert code("main:shaped") == code("main:shaped", parts=PARTS.replace("size=5", "size=6"))


@pytest.mark.parametrize(
    "main",
    [
        MAIN.replace("step as one", "step").replace("one(x)", "step(x)"),
        MAIN.replace("from toy.parts import step as one\n", "").replace("one(x)", "parts.step(x)"),
        MAIN.replace("    return one(x)", "    from toy.parts import step as local\n    return local(x)"),
    ],
)
def test_how_a_name_is_imported_changes_nothing(code, main):
    assert code(main=main) == code()


def test_a_moved_module_changes_no_fingerprint_but_is_named(code):
    main = MAIN.replace("toy.parts", "toy.room.pieces").replace(
        "from toy import parts", "from toy.room import pieces as parts"
    )
    moved = code(main=main, parts="", room__pieces=PARTS)
    assert moved.fingerprint == code().fingerprint
    assert moved.modules.keys() == {"main", "room.pieces"}


def test_two_definitions_of_one_name_do_not_change_places_unseen(code):
    sources = {name: f"def f():\n    return {i}\n" for i, name in enumerate("ab")}
    main = "from toy.a import f as x\nfrom toy.b import f as y\ndef run():\n    return x() - y()\n"
    swapped = main.replace("f as x", "f as z").replace("f as y", "f as x").replace("f as z", "f as y")
    assert code(main=main, **sources).fingerprint != code(main=swapped, **sources).fingerprint


def test_statements_of_imported_modules_run_whether_their_names_are_used_or_not(code):
    main = "import os\nfrom toy import parts\ndef run():\n    return 1\n"
    assert code(main=main).fingerprint != code(main=main, parts=PARTS + "\nos.environ['X'] = '1'\n").fingerprint
    assert code(main=main) == code(main=main, parts=PARTS.replace("STEP = 3", "STEP = 4"))
    inside = "def run():\n    from toy import parts\n    return 1\n"
    assert code(main=inside).fingerprint != code(main=inside, parts=PARTS + "\nos.environ['X'] = '1'\n").fingerprint


def test_the_description_of_a_parameter_is_for_people_and_its_bound_is_not(code):
    for call in (
        "Field(description='one', ge=0)",
        "parameter('one', 'pixels', ge=0)",
        "parameter('one', unit='px', ge=0)",
    ):
        main = f"from x import Field, parameter\nclass run:\n    x: int = {call}\n"
        assert code(main=main) == code(
            main=main.replace("'one'", "'two'").replace("pixels", "rows").replace("px", "mm")
        )
        assert code(main=main).fingerprint != code(main=main.replace("ge=0", "ge=1")).fingerprint


def test_libraries_are_those_that_the_used_definitions_import(code):
    assert code().libraries == {"numpy": "2.0"}
    assert code("parts:Shape").libraries == {"tqdm": "4.0"}
    assert code(main="import PIL.Image\ndef run():\n    return PIL.Image\n").libraries == {"pillow": "11.0"}
    through = {
        "main": "from toy.parts import keras\ndef run():\n    return keras.Input()\n",
        "parts": "with x():\n    import keras",
    }
    assert code(**through).libraries == {"keras": "3.0", "numpy": "2.0", "tensorflow": "2.0"}
    other = code(versions=VERSIONS | {"numpy": "2.1"})
    assert code().differing(other) == ["numpy (2.0, 2.1)"]
    assert other.fingerprint != code().fingerprint
    assert code(versions=VERSIONS | {"mlflow": "9"}) == code()


@pytest.mark.parametrize("entry", ["main:nothing", "nowhere:run"])
def test_an_entry_that_is_not_there_is_an_error(code, entry):
    with pytest.raises(LookupError):
        code(entry)


def test_the_lock_is_read_as_uv_writes_it(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(
        "ruamel.yaml==0.19 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\nA_b[c]==1 ; python_version<'3'\n# x==1\n"
    )
    assert fingerprint.locked_versions(path) == {"ruamel-yaml": "0.19", "a-b": "1"}
    with pytest.raises(UserError, match=r"no\.txt: .*Fix: "):
        fingerprint.locked_versions(tmp_path / "no.txt")


def test_a_file_is_written_only_if_it_changed(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.txt"
    lock.write_text("numpy==1.0\ntensorflow==2.0\n")
    assert fingerprint.write_codes(tmp_path) == list(PROGRAMS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "code").iterdir()}
    (tmp_path / fingerprint.STAMP).unlink()  # without it everything is read again
    assert fingerprint.write_codes(tmp_path) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "program_code", None)  # where nothing changed, nothing is parsed
        assert fingerprint.write_codes(tmp_path) == []
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "X86_V4")
    assert fingerprint.write_codes(tmp_path) == list(PROGRAMS)
    monkeypatch.delenv("NPY_DISABLE_CPU_FEATURES")
    assert fingerprint.write_codes(tmp_path) == list(PROGRAMS)
    lock.write_text("numpy==1.0\ntensorflow==2.1\n")
    assert fingerprint.write_codes(tmp_path) == ["train", "evaluate", "seeds", "notes-train", "notes-measure"]
    (tmp_path / "code/train.json").write_text("{")
    assert fingerprint.write_codes(tmp_path) == ["train"]
    assert fingerprint.read_code(tmp_path / "code/train.json") == fingerprint.present_code("train", tmp_path)


INSTALLED = Package(PACKAGE)


class Edited(Package):
    """The installed package with another text of one module; what the others define is read once for all tests."""

    def __init__(self, module, text):
        super().__init__(PACKAGE)
        self._modules = INSTALLED._modules | {module: _Module(ast.parse(text))}
        self._definitions = {use: found for use, found in INSTALLED._definitions.items() if use[0] != module}


@functools.cache
def real(package=INSTALLED, library=None):
    """Return all fingerprints of the package; with another version of a `library`."""
    versions = fingerprint.locked_versions(ROOT / "requirements.txt")
    versions |= {} if library is None else {library: "0"}
    return {program: fingerprint.program_code(package, program, versions).fingerprint for program in PROGRAMS}


def changed(before, after):
    return {program for program in before if before[program] != after[program]}


class Reworded(ast.NodeTransformer):
    """Gives every docstring another text."""

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):
            node.value = ast.Constant("Another text.")
        return node


def test_other_comments_docstrings_and_layout_everywhere_change_nothing(tmp_path):
    copy = shutil.copytree(PACKAGE, tmp_path / PACKAGE.name)
    for path in copy.rglob("*.py"):
        tree = Reworded().visit(ast.parse(path.read_text()))
        path.write_text("# a comment\n" + ast.unparse(tree) + "\n")  # which has lost all others
    assert changed(real(), real(Package(copy))) == set()


@pytest.mark.parametrize(
    ("module", "function", "programs"),
    [
        ("science.metrics", "calibration", {"evaluate"}),
        ("learning.optimizers", "make_optimizer", {"train", "notes-train", "notes-measure"}),
        ("data.prepared_writing", "write_prepared", {"notes-data"}),
        ("data.prepared_writing", "write_index", {"prepare", "notes-data"}),
        ("data.shards", "write_shard", {"prepare", "notes-data"}),
        ("pipeline.by_workers", "make_by_workers", set()),
        ("pipeline.kept", "code", set()),
        ("science.simulation.digitizer", "peak_shape", {"simulate", "prepare", "notes-data"}),
        ("tracking.runs", "log_model", set()),
        ("learning.rules", "require_data", {"validate", "check", "notes-validate"}),
        ("learning.checkpoint", "_read", set()),
        ("science.warning_signs", "warning_signs", set()),
        ("system.errors", "reason", set()),
        ("tools.compare", "compare_runs", set()),
    ],
)
def test_a_changed_function_concerns_those_that_use_it(module, function, programs):
    before, path = real(), INSTALLED.files[module]
    text, count = re.subn(
        rf"^def {function}\((.*?)\)( ->.*?)?:$", r"\g<0>\n    changed = 1", path.read_text(), flags=re.M | re.S
    )
    assert count == 1
    assert changed(before, real(Edited(module, text))) == programs


USE_KERAS = {"train", "evaluate", "seeds", "notes-train", "notes-measure"}
ALL = set(PROGRAMS)


@pytest.mark.parametrize(
    ("library", "programs"),
    [
        ("tensorflow", USE_KERAS),
        ("ml-dtypes", USE_KERAS),
        ("llvmlite", ALL - {"simulate"}),
        ("contourpy", {"evaluate"}),
        ("numpy", ALL),
        *((name, set()) for name in ("mlflow", "dvc", "optuna", "certifi", "rich", "pydantic-core", "grpcio")),
    ],
)
def test_another_locked_library_concerns_what_computes_with_it(library, programs):
    assert library in fingerprint.locked_versions(ROOT / "requirements.txt")
    assert changed(real(), real(library=library)) == programs


def test_the_backend_and_its_lock_concern_what_trains_and_evaluates(monkeypatch, tmp_path):
    for name in ("requirements.txt", "requirements-jax.txt"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    fingerprint.write_codes(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert set(fingerprint.write_codes(tmp_path)) == USE_KERAS
    code = fingerprint.present_code("train", tmp_path)
    assert "jax" in code.libraries
    assert "tensorflow" not in code.libraries
    lock = tmp_path / "requirements-jax.txt"
    lock.write_text(lock.read_text().replace(f"jax=={code.libraries['jax']}", "jax==0"))
    assert set(fingerprint.write_codes(tmp_path)) == USE_KERAS


def test_every_inert_library_is_locked():
    versions = fingerprint.locked_versions(ROOT / "requirements.txt")
    names = {name for names in fingerprint.INERT_LIBRARIES.values() for name in names.split()}
    assert names - versions.keys() <= {"ruamel"}


def test_what_is_listed_as_inert_is_there():
    assert all(name in Package(PACKAGE).files or (PACKAGE / name).is_dir() for name in INERT)


def test_the_libraries_of_a_gpu_count_with_its_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    versions = fingerprint.locked_versions(ROOT / "requirements-jax.txt")
    deciding = fingerprint._deciding({"keras"}, versions)
    assert deciding.keys() >= {"jax", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "nvidia-cublas"}
    assert "nvidia-ml-py" not in deciding
    assert not {"jax-cuda13-plugin", "jax"} & fingerprint._deciding({"numpy"}, versions).keys()
