"""The one error for bad input."""


class InputError(ValueError):
    """An error in a config, log or file that the user can fix; its one line names the thing and the remedy.

    The command line prints it without a traceback and exits with status 2.
    """
