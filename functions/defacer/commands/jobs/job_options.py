"""The options that the commands about jobs share."""

from pathlib import Path
from typing import Annotated

import typer

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
