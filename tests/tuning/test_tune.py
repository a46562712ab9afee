"""What decides which study a search is."""

from xtcav_ml.lineage import environment
from xtcav_ml.tuning import studies, tune


def test_another_environment_is_another_study(search, tmp_path, monkeypatch):
    def name():
        return studies.open_study(search.tune, tune.decides(search.base), tmp_path / "study.db").study_name

    monkeypatch.setattr(tune.lineage, "file_md5", lambda path: path.name)
    assert name() == name()
    before = name()
    monkeypatch.setattr(environment.platform, "platform", lambda: "another kernel")
    assert name() == before
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert name() != before
