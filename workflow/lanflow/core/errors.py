"""Errors that are shown to the user as one message, without a traceback."""


class UserError(Exception):
    """An error that the user can correct: a file, a key, a folder or a value.

    The message names the fault, its place, and what is accepted. A command prints the message
    alone and exits with status 1.
    """


class UsageError(UserError):
    """An error for options that contradict each other; the command exits with status 2."""


class StoreError(UserError):
    """An MLflow store that refuses a request or does not answer."""


class StoreUnavailableError(StoreError):
    """An MLflow store that does not answer now but may do so later."""
