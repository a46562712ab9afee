import pytest

from xtcav_ml.lineage import environment


def test_environment_names_versions_and_processor():
    found = environment.environment()
    assert found["keras"].startswith("3.")
    assert int(found["cores"]) >= 1
    assert (
        environment.environment(["numpy", "no such library"]).keys() - {"numpy"} == environment.environment([]).keys()
    )


@pytest.mark.parametrize(
    ("flags", "name"), [("sse4_2 avx avx2 avx512f avx512bw", "AVX-512"), ("avx avx2 fma", "AVX2"), ("avx", "ALPHA")]
)
def test_the_class_of_a_processor_is_its_widest_instructions(monkeypatch, flags, name):
    text = f"processor\t: 0\nmodel name\t: EPYC\nflags\t\t: {flags}\n"
    monkeypatch.setattr(environment.Path, "read_text", lambda path: text)
    monkeypatch.setattr(environment.platform, "machine", lambda: "ALPHA")
    assert environment.processor_class() == name
    assert environment.environment([])[environment.CLASS] == name
    assert environment.environment([])["cpu"] == "EPYC"


@pytest.mark.parametrize("value", [None, ""])
def test_tensorflow_is_the_default_backend(monkeypatch, value):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if value is not None:
        monkeypatch.setenv("KERAS_BACKEND", value)
    assert environment.backend() == "tensorflow"


@pytest.mark.parametrize(("backend", "cores_decide"), [("tensorflow", False), ("jax", True)])
def test_only_what_can_change_bits_decides(monkeypatch, backend, cores_decide):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    before = environment.deciding(["numpy"])
    assert before.keys() - {"cores"} == {"cpu", "backend", "numpy"}
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 1000)
    assert (environment.deciding(["numpy"]) != before) == cores_decide
