"""From what went wrong to one line on standard error and an exit code."""

import sys
from collections.abc import Callable

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import SettingsError

INTERRUPTED = 130
AGAIN = "Run the same command again: it goes on where it was."


class UsageError(Exception):
    """The command can't be done as given; the message says what would be right."""


def run_cli(run: Callable[[], int]) -> int:
    """Run a command; gives its exit code, or that of what it raised, said in a line."""
    try:
        return run()
    except (UsageError, SettingsError) as error:
        return _say(str(error), 2)
    except PermanentError as error:
        return _say(str(error), 1)
    except RetryableError as error:
        return _say(f"{error}. {AGAIN}", 1)
    except GoogleAuthError as error:
        return _say(f"Google Cloud does not know who you are: {error}", 1)
    except GoogleAPICallError as error:
        return _say(f"Google Cloud refused: {error}. {AGAIN}", 1)
    except KeyboardInterrupt:
        return _say(f"interrupted. {AGAIN}", INTERRUPTED)


def _say(line: str, code: int) -> int:
    print(f"privacy: {line}", file=sys.stderr)
    return code
