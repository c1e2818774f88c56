"""The options that the commands about jobs share."""

from pathlib import Path
from typing import Annotated

import typer

from defacer.commands.common.exit_codes import UsageError
from defacer.report.edits import Edits

Job = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job.")]
Keep = Annotated[list[int], typer.Option("--keep", metavar="TRACK", help="Keep this track. Repeatable.")]
Hide = Annotated[list[int], typer.Option("--hide", metavar="TRACK", help="Hide this track. Repeatable.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the kept and hidden tracks.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="OUT", help="Wait, then save the result here and its report beside it."
    ),
]


def parse_decisions(keep: list[int], hide: list[int]) -> Edits:
    """Return the decisions of --keep and --hide. Raise UsageError if a track is in both."""
    if both := set(keep) & set(hide):
        raise UsageError(
            f"Track {min(both)} can't be kept and hidden at once. Remove it from --keep or --hide."
        )
    return Edits(decisions={**dict.fromkeys(keep, "keep"), **dict.fromkeys(hide, "hide")})
