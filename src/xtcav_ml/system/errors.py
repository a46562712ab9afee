"""The one error that a user sees: a single line that names file or key, problem, value and cure."""

import errno
import re
import sys


class UserError(Exception):
    """A mistake that the user can correct. The command line prints it on one line, without a traceback, and exits with 1."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, over the quota, over the largest file: making room on the disk is the fix."""


def file_error(path: object, error: OSError) -> UserError:
    """Return the error of a `path` that could not be read, created, written or replaced."""
    if error.errno in DISK_FULL:
        expected, cure = "room on its disk", "make room, then run the command again"
    else:
        expected, cure = "a file or folder with permission to use it", "name another, or remove the obstacle"
    return UserError(f"{path}: not usable (found {error.strerror!r}, expected {expected}). Fix: {cure}")


def as_user_error(error: UserError | OSError) -> UserError:
    """Return the one line of an error for the user; raises an error that no user can mend."""
    if isinstance(error, UserError):
        return error
    path = error.filename2 or error.filename  # of a renaming, the new name
    if path is None and error.errno not in DISK_FULL:
        raise error
    return file_error(path or "a file", error)


MASK = "***@"  # replaces user and password in an address
REASON_LENGTH = 240  # characters of an error that are worth reading


def masked(uri: str) -> str:
    """Return an address without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/\s]*@", MASK, uri)


def reason(error: Exception) -> str:
    """Return the first line of an error, or its type, cut after REASON_LENGTH characters, addresses in it masked."""
    line = masked((str(error).splitlines() or [type(error).__name__])[0])
    return line if len(line) <= REASON_LENGTH else f"{line[:REASON_LENGTH]}..."


def warn(message: object) -> None:
    """Print a problem to stderr."""
    print(f"xtcav: {message}", file=sys.stderr)
