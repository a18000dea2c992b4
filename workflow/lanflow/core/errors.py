"""The mistakes of a person: one message each, no traceback."""


class UserError(Exception):
    """Something a person can mend: a file, a key, a folder, a value.

    The message names what is wrong, where, and what is accepted. A command that meets one prints
    the message alone and exits with status 1.
    """


class UsageError(UserError):
    """Options that do not fit together; the command exits with status 2."""


class StoreError(UserError):
    """An MLflow store that refuses, or does not answer."""


class StoreUnavailableError(StoreError):
    """An MLflow store that does not answer now; later it may."""
