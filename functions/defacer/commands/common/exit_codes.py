"""Turn the errors of a command into one line on standard error and an exit code."""

import io
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import typer


class ExitCode(IntEnum):
    """The exit codes of all commands. The text below each code is its row in README.md (`make reference`)."""

    SUCCESS = 0
    """Success."""
    FAILED = 1
    """A video can't be processed, the work failed, or one of several files failed. Standard error has the reason. It is
    also the code, without a message, if the program that reads the output closes it."""
    WRONG_USAGE = 2
    """An option, a value, a setting, or a named file other than a video can't be used. A named track or job does not
    exist. Nothing was done."""
    NOT_INSTALLED = 3
    """A package is not installed. The message has the command that installs it."""
    INTERRUPTED = 130
    """Interrupted by Ctrl-C, SIGTERM or SIGHUP."""


NO_INTEGER = "Input should be a valid integer, unable to parse string as an integer"  # Typer's words
AGAIN = "Run the same command again. It continues where it stopped."


class UsageError(Exception):
    """The arguments are wrong. The message says what to change."""


class CommandError(Exception):
    """The command failed. The message says why, and what to do."""


class MissingExtraError(Exception):
    """A command needs packages of an extra that are not installed."""

    def __init__(self, command: str, extra: str, missing: Sequence[str]):
        from defacer.engine.runtime.installation import install_command  # takes long to import

        super().__init__(
            f"`{command}` needs packages that are not installed: {', '.join(missing)}. "
            f"Run: {install_command(extra)}"
        )


class Described(NamedTuple):
    """An error as a command reports it."""

    sentence: str
    code: ExitCode


class _Rule(NamedTuple):
    """How errors of a class are reported. The class is named, so that a command does not import unused packages."""

    module: str
    name: str
    code: ExitCode
    text: str = "{error}"
    error_codes: frozenset[str] | None = None  # only errors with one of these codes


# The first rule that matches counts.
FAILED, WRONG_USAGE, NOT_INSTALLED = ExitCode.FAILED, ExitCode.WRONG_USAGE, ExitCode.NOT_INSTALLED
RULES = (
    _Rule("defacer.commands.common.exit_codes", "UsageError", WRONG_USAGE),
    _Rule("defacer.commands.common.exit_codes", "CommandError", FAILED),
    _Rule("defacer.commands.common.exit_codes", "MissingExtraError", NOT_INSTALLED),
    _Rule("defacer.pipeline.settings", "SettingsError", WRONG_USAGE),
    _Rule("defacer.engine.errors", "ArgumentError", WRONG_USAGE),
    _Rule("defacer.engine.errors", "PictureError", WRONG_USAGE),
    _Rule("defacer.engine.errors", "MissingPackageError", NOT_INSTALLED),
    _Rule("defacer.engine.errors", "EngineError", FAILED),
    _Rule(
        "defacer.pipeline.errors",
        "PermanentError",
        WRONG_USAGE,
        error_codes=frozenset({"bad-policy", "bad-decisions", "no-job"}),
    ),
    _Rule("defacer.pipeline.errors", "PermanentError", FAILED),
    _Rule("defacer.pipeline.errors", "RetryableError", FAILED, "{error}. " + AGAIN),
    _Rule("defacer_emulator.errors", "EmulatorUsageError", WRONG_USAGE),
    _Rule("defacer_emulator.errors", "EmulatorError", FAILED),
    _Rule(
        "google.auth.exceptions",
        "GoogleAuthError",
        FAILED,
        "Google Cloud did not accept your credentials: {error}",
    ),
    _Rule(
        "google.api_core.exceptions",
        "GoogleAPICallError",
        FAILED,
        "Google Cloud refused: {error}. " + AGAIN,
    ),
)


def report_error(error: BaseException) -> int:
    """Print an error to standard error, and return the exit code. An unknown error is printed with its traceback."""
    if isinstance(error, BrokenPipeError) and _is_output_closed():
        sys.stderr.close()  # the interpreter would print an error about the rest of the output
        return ExitCode.FAILED
    if isinstance(error, typer.TyperException) and hasattr(error, "show"):
        shown = io.StringIO()
        error.show(shown)  # with the usage of the command
        text = shown.getvalue().replace(
            NO_INTEGER, "expected a whole number. Repeat the option for several numbers."
        )
        sys.stderr.write(re.sub("^Error: ", "error: ", text, count=1, flags=re.MULTILINE))
        return error.exit_code
    described = describe_error(error)
    if described is None:
        traceback.print_exception(error)
        described = Described("This is a fault in De-facer. Report it with the lines above.", ExitCode.FAILED)
    print(f"error: {described.sentence}", file=sys.stderr)
    return described.code


def _is_output_closed() -> bool:
    """Return whether the reader of the standard output has ended. The output that it did not read is still here."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return True
    return False


def sentence_of(error: BaseException) -> str:
    """Return the sentence of an error, for a result in JSON."""
    described = describe_error(error)
    return described.sentence if described else str(error)


def describe_error(error: BaseException) -> Described | None:
    """Return the sentence and the exit code of an error, or None if no command expects it."""
    if isinstance(
        error, KeyboardInterrupt | typer.Abort
    ):  # Abort: Ctrl-C or the end of the input at a question
        return Described("Interrupted.", ExitCode.INTERRUPTED)
    for rule in RULES:
        kind = getattr(sys.modules.get(rule.module), rule.name, None)
        if (
            kind is not None
            and isinstance(error, kind)
            and (rule.error_codes is None or getattr(error, "code", None) in rule.error_codes)
        ):
            return Described(rule.text.format(error=error), rule.code)
    if isinstance(error, OSError) and error.strerror:
        return Described(f"{error.filename or ''}: {error.strerror}.".removeprefix(": "), ExitCode.FAILED)
    return None


def run_cli(run: Callable[[], int | None]) -> int:
    """Run a command and return its exit code. Print an error as one line, and return the exit code for it.

    Nothing is 0. Typer returns 130 after Ctrl-C instead of raising KeyboardInterrupt.
    """
    # A file's name can have characters that the output can't encode, such as in a pipe on Windows.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run() or 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last handler of the process
        return report_error(error)
    return report_error(KeyboardInterrupt()) if code == ExitCode.INTERRUPTED else code
