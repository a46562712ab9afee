"""The one error that a user sees: a single line that names file or key, problem, value and cure."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 120  # letters that are shown of a name


def shown(text: str) -> str:
    """Return a text with escapes for what a terminal would not show but do: control characters, ends of lines, directions."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(text: object) -> str:
    """Return what is `shown` of what a file gives as a name: its beginning, if it is long."""
    whole = shown(str(text)[: LONGEST + 1])
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}..."


class UserError(Exception):
    """A mistake that the user can correct. The command line prints it on one line, without a traceback, and exits with 1.

    What would move the cursor or break the line is shown as escapes: messages quote files and names.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class DiskFull(UserError):
    """No fault of what was written: with room on the disk the same command passes."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, over the quota, over the largest file: making room on the disk is the fix."""

FULL = re.compile("|".join([*map(os.strerror, DISK_FULL), "database or disk is full", "disk I/O error"]), re.IGNORECASE)
LOCKED = "database is locked"  # as SQLite says it
"""What libraries and SQLite say of a full disk in errors of their own."""


def file_error(path: object, error: OSError) -> UserError:
    """Return the error of a `path` that could not be read, created, written or replaced."""
    if error.errno in DISK_FULL:
        return _full(path, error.strerror)
    expected = "a file or folder with permission to use it"
    return UserError(
        f"{path}: not usable (found {error.strerror!r}, expected {expected}). Fix: name another, or remove the obstacle"
    )


DAMAGES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, EOFError)
"""What a reader raises that finds other bytes, another type, other keys than it expects."""

REMOVE = "remove it, then "


@contextlib.contextmanager
def reading(path: object, expected: str, cure: str, damages: tuple[type[Exception], ...] = DAMAGES) -> Iterator[None]:
    """Raise UserError about `path` if what reads it finds no file, or finds it damaged."""
    caught: tuple[type[Exception], ...] = (*damages, OSError)
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: missing (expected {expected}). Fix: {cure.removeprefix(REMOVE)}") from None
    except caught as error:
        if disk_full(error):
            raise
        found = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"{path}: damaged (found {found!r}, expected {expected}). Fix: {cure}") from None


def disk_full(error: BaseException, path: str | Path = "") -> DiskFull | None:
    """Return the one line of an error that is, or comes from, a full disk; None for any other.

    It names `path`, by default the file that the error names.
    """
    found = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DiskFull):
            return cause
        if isinstance(cause, OSError):
            path = path or cause.filename2 or cause.filename or ""
        if match := FULL.search(str(cause)):
            found = found or match[0]
        cause = cause.__cause__ or cause.__context__
    return _full(path or "a file", found) if found else None


def as_user_error(error: Exception) -> UserError:
    """Return the one line of an error for the user; raises an error that no user can mend."""
    if isinstance(error, UserError):
        return error
    if full := disk_full(error):
        return full
    path = (error.filename2 or error.filename) if isinstance(error, OSError) else None  # of a renaming, the new name
    if not isinstance(error, OSError) or path is None:
        raise error
    return file_error(path, error)


def _full(path: object, found: str | None) -> DiskFull:
    return DiskFull(
        f"{path}: not usable (found {found!r}, expected room on its disk). Fix: make room, then run the command again"
    )


MASK = "***@"  # replaces user and password in an address
REASON_LENGTH = 240  # characters of an error that are worth reading


def masked(uri: str) -> str:
    """Return an address without the user and password that it may hold."""
    return re.sub(r"(?<=://)[^/\s]*@", MASK, uri)


def reason(error: Exception) -> str:
    """Return the first line of an error, or its type, cut after REASON_LENGTH characters, addresses in it masked."""
    return cut(masked((str(error).splitlines() or [type(error).__name__])[0]))


def cut(text: str) -> str:
    """Return a text cut after REASON_LENGTH characters."""
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."


def warn(message: object) -> None:
    """Print a problem to stderr."""
    print(f"xtcav: {shown(str(message))}", file=sys.stderr)
