"""The one error for bad input."""


class InputError(ValueError):
    """A config, log or file that the user can mend: one line that names the thing and the remedy.

    The command line prints it without a traceback and leaves with status 2.
    """
