from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.conftest import ROOT
from xtcav_ml.cli import main
from xtcav_ml.lineage import fingerprint


def test_there_is_a_file_for_each_program_and_the_code_stage_of_its_dvc_project_lists_it(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text((ROOT / "requirements.txt").read_text())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main.application(["fingerprint"]), ["fingerprint"])
    assert (done.exit_code, done.exception) == (0, None)
    assert all(program in done.output for program in fingerprint.PROGRAMS)
    for project in ("", "experiments", "seeds"):
        written = {f"code/{path.name}" for path in (tmp_path / project / "code").iterdir()}
        stage = YAML(typ="safe").load((ROOT / project / "dvc.yaml").read_text())["stages"]["code"]
        assert {name for out in stage["outs"] for name in out if name.startswith("code/")} == written
