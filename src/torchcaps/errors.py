"""The one error that means "the input is wrong, not the program"."""

__all__ = ["InputError"]


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
