"""`defacer tracks`: list the tracks of a report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from defacer.commands.common.conventions import Json, example_text

EXAMPLES = """\
defacer tracks vlog.report.jsonl
defacer tracks vlog.report.jsonl --json
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES), no_args_is_help=True)
def tracks(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="The report of `defacer run --report`, or of a job.")
    ],
    json_output: Json = False,
) -> None:
    """List the tracks of a report: when each is visible, whether it is kept, and why."""
    from defacer.commands.track_table import track_lines, tracks_as_json
    from defacer.engine.file_report import Report

    found = Report.read(report)
    if json_output:
        print(json.dumps(tracks_as_json(found)))
    else:
        print(*track_lines(found), sep="\n")
