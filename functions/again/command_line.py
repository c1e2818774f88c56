"""The command, its arguments, and what a person at a terminal is told."""

import argparse
import logging
import sys
from collections.abc import Sequence

DESCRIPTION = """\
Have a published video rendered again, with other decisions for some of the tracks that its report lists, and all
others as they are. Prints the new job. The buckets are those that DEFACER_PROJECT, DEFACER_INTAKE_BUCKET,
DEFACER_WORK_BUCKET and DEFACER_OUTPUT_BUCKET name, as for the functions.

exit codes: 0 asked for, 1 it can't be done, 2 the command can't be done as given
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for it; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m functions.again",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    both = set(options.keep) & set(options.hide)
    if both:
        parser.error(f"track {min(both)} can't be kept and hidden at once")
    if not options.keep and not options.hide:
        parser.error("say what to change: --keep TRACK, --hide TRACK")
    return _ask(options)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments, which the emulator's command has too."""
    command.add_argument("job", metavar="JOB", help="any job of the video's upload")
    for wish in ("keep", "hide"):
        command.add_argument(
            f"--{wish}",
            type=int,
            action="append",
            default=[],
            metavar="TRACK",
            help=f"{wish} the track of this number; may be given again",
        )


def _ask(options: argparse.Namespace) -> int:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    from functions.pipeline import again
    from functions.pipeline.contracts import Decision
    from functions.pipeline.errors import PermanentError, RetryableError
    from functions.pipeline.settings import SettingsError

    logging.getLogger("defacer").addHandler(logging.NullHandler())  # what the pipeline logs is said here
    keep: dict[int, Decision] = dict.fromkeys(options.keep, "keep")
    try:
        print(again.ask(options.job, {**keep, **dict.fromkeys(options.hide, "hide")}))
    except SettingsError as error:
        return _say(str(error), 2)
    except PermanentError as error:
        return _say(str(error), 1)
    except RetryableError as error:
        what = str(error).partition(": ")[0]  # a command line has no message that comes back
        return _say(f"{what}. Run the same command again.", 1)
    except (GoogleAuthError, GoogleAPICallError) as error:
        return _say(f"Google Cloud refused: {error}", 1)
    return 0


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
