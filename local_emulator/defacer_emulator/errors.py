"""What a person at the command line is told: one sentence, no traceback."""


class EmulatorError(Exception):
    """Something did not work. The message says what was found and what to do; exit code 1."""

    exit_code = 1


class UsageError(EmulatorError):
    """The command as given can't be done: a bad argument, a missing file, no emulator running; exit code 2."""

    exit_code = 2
