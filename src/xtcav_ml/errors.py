"""The one error that a user sees: a single line that names file or key, rule, value and cure."""


class UserError(Exception):
    """A mistake that the user can mend. The command line prints it on one line, without a traceback, and exits with 1."""
