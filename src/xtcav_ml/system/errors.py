"""The one error that a user sees: a single line that names file or key, rule, value and cure."""

import errno
import re
import sys


class UserError(Exception):
    """A mistake that the user can mend. The command line prints it on one line, without a traceback, and exits with 1."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, over the quota, over the largest file: what the user can mend by making room."""


def disk_full(path: object, error: OSError) -> UserError:
    """Return what to say when `path` could not be written for lack of room."""
    return UserError(
        f"{path}: must find room on its disk, got {error.strerror!r}; make room, then run the command again"
    )


def unusable(path: object, error: OSError) -> UserError:
    """Return what to say when `path` could not be read, made or replaced for another reason."""
    return UserError(
        f"{path}: must be a file or folder that can be read and written there, got {error.strerror!r}; name another, or change "
        "what stands in the way"
    )


MASK = "***@"
"""Stands where an address had a user and a password."""

LONGEST_REASON = 240
"""Characters of an error that are worth reading."""


def masked(uri: str) -> str:
    """Return an address without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/\s]*@", MASK, uri)


def reason(error: Exception) -> str:
    """Return the first line of an error, or its type, cut after LONGEST_REASON characters, addresses in it masked."""
    line = masked((str(error).splitlines() or [type(error).__name__])[0])
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}..."


def warn(message: str) -> None:
    """Print what went wrong but stops nothing."""
    print(f"xtcav: {message}", file=sys.stderr)
