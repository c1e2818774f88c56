"""Errors that the command line prints as one sentence, without a traceback."""

INTERRUPTED = 130  # the exit code after Ctrl-C


class EmulatorError(Exception):
    """An operation failed. The message has the reason and an action. Exit code 1."""

    exit_code = 1


class EmulatorUsageError(EmulatorError):
    """The command can't be done as given: a bad argument or a missing file. Exit code 2."""

    exit_code = 2
