"""Turn the errors of a command into one line on standard error and an exit code."""

import sys
from collections.abc import Callable

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import SettingsError

INTERRUPTED = 130
AGAIN = "Run the same command again. It continues where it stopped."


class UsageError(Exception):
    """The arguments are wrong. The message says what to change."""


def run_cli(run: Callable[[], int]) -> int:
    """Run a command and return its exit code. Print an error as one line, and return the exit code for it."""
    try:
        return run()
    except (UsageError, SettingsError) as error:
        return _print_error(str(error), 2)
    except PermanentError as error:
        return _print_error(str(error), 1)
    except RetryableError as error:
        return _print_error(f"{error}. {AGAIN}", 1)
    except GoogleAuthError as error:
        return _print_error(f"Google Cloud did not accept your credentials: {error}", 1)
    except GoogleAPICallError as error:
        return _print_error(f"Google Cloud refused: {error}. {AGAIN}", 1)
    except KeyboardInterrupt:
        return _print_error(f"interrupted. {AGAIN}", INTERRUPTED)


def _print_error(line: str, code: int) -> int:
    print(f"privacy: {line}", file=sys.stderr)
    return code
