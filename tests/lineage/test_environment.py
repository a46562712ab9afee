from xtcav_ml.lineage import environment


def test_environment_names_versions_and_processor():
    found = environment.environment()
    assert found["keras"].startswith("3.")
    assert "cores" in found["cpu"]
    assert (
        environment.environment(["numpy", "no such library"]).keys() - {"numpy"} == environment.environment([]).keys()
    )


def test_jax_is_a_part_of_the_environment_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: f"{name} 1")
    assert environment.environment()["jax"] == "jax 1"


def test_only_what_can_change_bits_decides(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert environment.deciding(["numpy"]).keys() == {"cpu", "backend", "numpy"}
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: f"{name} 1")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert environment.deciding(["numpy"])["jaxlib"] == "jaxlib 1"
