import errno

import pytest

from xtcav_ml.system.errors import UserError, as_user_error, brief, warn


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("train.epochs: 0"), "train.epochs: 0"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "/data: not usable (found 'Permission denied'"),
        (OSError(errno.EXDEV, "Cross-device link", "old", None, "new"), "new: not usable (found 'Cross-device link'"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file: not usable (found 'No space left on device'"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line):
    assert str(as_user_error(error)).startswith(line)


def test_what_no_user_can_mend_is_raised():
    with pytest.raises(BrokenPipeError):
        as_user_error(BrokenPipeError(errno.EPIPE, "Broken pipe"))


def test_what_a_message_quotes_does_nothing_to_the_terminal(capsys):
    warn("a\x1b[31m.h5: \u202edamaged\n")
    assert capsys.readouterr().err == "xtcav: a\\x1b[31m.h5: \\u202edamaged\\n\n"
    assert str(UserError("\x1b\r")) == "\\x1b\\r"


@pytest.mark.parametrize(
    ("text", "shown"), [("a\n\x1b[2J", r"a\n\x1b[2J"), ((6, 24), "(6, 24)"), ("ä" * 10**6, "ä" * 120 + "...")]
)
def test_a_name_of_a_file_is_shown_on_one_line_and_not_much_longer(text, shown):
    assert brief(text) == shown
