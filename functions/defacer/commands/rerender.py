"""The command line that requests a re-render of a published video, or lists its tracks."""

import argparse
import logging
import sys
from collections.abc import Sequence

DESCRIPTION = """\
Re-render a published video with other decisions for some of its tracks, and print the new job. Without --keep and
--hide, list the tracks by number. The variables DEFACER_PROJECT, DEFACER_INTAKE_BUCKET, DEFACER_WORK_BUCKET and
DEFACER_OUTPUT_BUCKET name the buckets, as for the functions.

exit codes: 0 success, 1 failure, 2 wrong arguments
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m defacer.commands",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    both = set(options.keep) & set(options.hide)
    if both:
        parser.error(f"track {min(both)} can't be kept and hidden at once")
    return _run(options)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments, which the emulator's command has too."""
    command.add_argument("job", metavar="JOB", help="any job of the video's upload")
    for wish in ("keep", "hide"):
        command.add_argument(
            f"--{wish}",
            type=int,
            action="append",
            default=[],
            metavar="TRACK",
            help=f"{wish} the track of this number; repeat it for several tracks",
        )


def _run(options: argparse.Namespace) -> int:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    from defacer.commands.track_table import track_lines
    from defacer.pipeline.documents.base import Decision
    from defacer.pipeline.errors import PermanentError, RetryableError
    from defacer.pipeline.lifecycle import rerender_request
    from defacer.pipeline.settings import SettingsError

    logging.getLogger("defacer").addHandler(logging.NullHandler())  # the command prints errors itself
    decisions: dict[int, Decision] = {
        **dict.fromkeys(options.keep, "keep"),
        **dict.fromkeys(options.hide, "hide"),
    }
    try:
        if decisions:
            print(rerender_request.request_rerender(options.job, decisions))
        else:
            print(*track_lines(rerender_request.report_of(options.job)), sep="\n")
    except SettingsError as error:
        return echo(str(error), 2)
    except PermanentError as error:
        return echo(str(error), 1)
    except RetryableError as error:
        return echo(f"{error}. Run the same command again.", 1)
    except (GoogleAuthError, GoogleAPICallError) as error:
        return echo(f"Google Cloud refused: {error}", 1)
    return 0


def echo(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
