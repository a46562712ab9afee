from xtcav_ml.report import current


def test_files_that_another_command_removes_meanwhile_are_no_error(tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text('<meta content="a digest">')

    def vanish(*_):
        out.unlink()
        return "a digest"

    monkeypatch.setattr(current, "made_from", vanish)
    assert current.is_current(tmp_path, out, None)
    assert not current.is_current(tmp_path, out, None)
    assert not current.is_current(tmp_path, tmp_path, None)
    assert current._state(out) == ()
