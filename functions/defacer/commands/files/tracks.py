"""`defacer tracks`: list the tracks of a report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defacer.commands.common.conventions import Json, example_text
from defacer.commands.common.exit_codes import UsageError
from defacer.report.exchange.formats import FormatName

if TYPE_CHECKING:
    from defacer.engine.file_report import Report

EXAMPLES = """\
defacer tracks vlog.report.jsonl
defacer tracks vlog.report.jsonl --json
defacer tracks vlog.report.jsonl --format cvat > tracks.xml
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES), no_args_is_help=True)
def tracks(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="The report of `defacer run --report`, or of a job.")
    ],
    form: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            help="Print the tracks as a file for annotation tools instead: MOT, CVAT for video 1.1, or COCO. "
            "`defacer render --tracks` imports it.",
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            "--video",
            metavar="IN",
            help="The video, for --format. Needed if its frames do not have a constant rate.",
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """List the tracks of a report: when each is visible, whether it is kept, and why."""
    from defacer.commands.track_table import track_lines, tracks_as_json
    from defacer.engine.file_report import Report

    if (form and json_output) or (video and not form):
        raise UsageError("--format can't be used with --json, and --video needs --format. Remove one option.")
    found = Report.read(report)
    if form is not None:
        print(_export(found, form, video), end="")
    elif json_output:
        print(json.dumps(tracks_as_json(found)))
    else:
        print(*track_lines(found), sep="\n")


def _export(report: "Report", form: FormatName, video: Path | None) -> str:
    from defacer.engine.corrections.track_exchange import compute_frame_times, export_tracks, read_frame_times
    from defacer.engine.media.clock.clocked_source import ClockedSource
    from defacer.engine.redact_file import check_files, require_own_report

    if video is None:
        times = compute_frame_times(report.faces)
    else:
        check_files([video], [], force=False)
        require_own_report(video, report)
        times = read_frame_times(ClockedSource(str(video.absolute()), report.clock), report.faces)
    return export_tracks(report.faces, report.fingerprint, form, times)
