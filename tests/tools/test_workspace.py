from pathlib import Path

from xtcav_ml.system import streams
from xtcav_ml.tools.workspace import shown_python

PROGRAM = "import sys; print('said', flush=True); print('told', file=sys.stderr); print('end'); sys.exit(3)"


def test_what_a_program_prints_is_passed_on(tmp_path, capsys):
    with shown_python(tmp_path, "-c", PROGRAM) as process:
        pass
    assert process.returncode == 3
    assert capsys.readouterr() == ("said\nend\n", "told\n")


def test_a_program_gets_to_its_end_whatever_becomes_of_what_it_prints(tmp_path, monkeypatch):
    with Path("/dev/full").open("wb") as full:
        monkeypatch.setitem(streams.DESCRIPTORS, "stdout", full.fileno())
        monkeypatch.setattr("sys.stdout", None)
        streams._replace("stdout")
        with shown_python(tmp_path, "-c", PROGRAM) as process:
            pass
    assert process.returncode == 3
