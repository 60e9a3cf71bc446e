"""The errors that mean "this needs a person", not "the program is wrong"."""

__all__ = ["InputError", "RunStopped", "SomeFailed"]


class InputError(ValueError):
    """A mistake in what a person handed in: a file, a folder, an option.

    Its message is one sentence (or two) that names the file, field or value, says what was expected
    and what to do. The command line prints it without a traceback and exits with code 2; in Python
    it is a `ValueError` like any other.

    Example:
        >>> from torchcaps.errors import InputError
        >>> issubclass(InputError, ValueError)
        True
    """


class RunStopped(Exception):
    """A training run ended early, and its folder holds what is needed to go on.

    Its message says what happened and what to do; `exit_code` is what the command line returns.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SomeFailed(Exception):
    """Much was asked for at once and the rest is done: its message says how many were not, and why.

    The command line returns 1 then, so that a script can tell it from all done (0) and from a
    mistake before which nothing was done (2).
    """

    exit_code = 1
