import pytest

from tests.figures.searches import made_up
from xtcav_ml.data import search_file
from xtcav_ml.system.errors import UserError


def test_what_is_written_is_read_with_parameters_in_their_order(tmp_path):
    found = made_up()
    search_file.write(tmp_path / "search.json", found)
    read = search_file.read(tmp_path / "search.json")
    assert read == found
    assert list(read.space) == list(found.space)
    assert list(read.importances) == list(found.importances)


@pytest.mark.parametrize(("content", "said"), [('{"torn', "Invalid JSON"), ("{}", "study: Field required")])
def test_a_damaged_file_is_one_line(tmp_path, content, said):
    (tmp_path / "search.json").write_text(content)
    with pytest.raises(
        UserError, match=rf"search\.json: damaged \(found .*{said}.*\)\. Fix: remove it, then run `make tune`"
    ):
        search_file.read(tmp_path / "search.json")
