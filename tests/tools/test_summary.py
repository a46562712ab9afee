import json

from tests.report.conftest import CLASSES, lay_results
from xtcav_ml.tools import summary


def test_the_matrix_has_its_classes_in_the_order_of_their_numbers(tmp_path, capsys):
    summary.print_summary(lay_results(tmp_path, right=1.1))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [next(name for name in CLASSES if name in row) for row in rows] == list(CLASSES)
    assert [row.split("│")[2 + i].strip() for i, row in enumerate(rows)] == ["40"] * 3


def test_it_names_the_report_once_there_is_one(tmp_path, capsys):
    root = lay_results(tmp_path)
    summary.print_summary(root)
    assert "report.html" not in capsys.readouterr().out
    (root / "results/report.html").touch()
    summary.print_summary(root)
    assert "Report     " in capsys.readouterr().out


def test_the_distance_from_the_largest_class_is_shown(tmp_path, capsys):
    root = lay_results(tmp_path)
    z = json.loads((root / "results/metrics.json").read_text())["z_score"]
    summary.print_summary(root)
    assert f"{z:.1f} standard deviations lower" in " ".join(capsys.readouterr().out.split())
