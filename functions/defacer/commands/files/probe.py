"""`defacer probe`: show what a video is, and what its result keeps, converts, corrects and drops."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defacer.commands.common.conventions import Json, example_text
from defacer.commands.common.exit_codes import ExitCode, sentence_of
from defacer.commands.files import engine_options as chosen
from defacer.plurals import printable

if TYPE_CHECKING:
    from defacer.engine.media.probe import SourceProbe

EXAMPLES = """\
defacer probe vlog.mp4
defacer probe vlog.mp4 --json
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES), no_args_is_help=True)
def probe(
    videos: Annotated[list[Path], typer.Argument(metavar="IN", help="Videos on this machine.")],
    on_decode_error: chosen.OnDecodeErrorOption = None,
    strict_timing: chosen.StrictTimingOption = None,
    sound: chosen.SoundOption = None,
    json_output: Json = False,
) -> None:
    """Show what a video is, and what its result keeps, converts, corrects and drops.

    Reads the index of an MP4, and all packets of another file. Exit code 1: De-facer refuses a video.
    """
    from defacer.engine.errors import VideoError
    from defacer.engine.media.probe import probe as probe_source
    from defacer.engine.options import Options
    from defacer.engine.redact_file import check_files

    check_files(videos, [], force=False)
    options = chosen.with_given(
        Options(), on_decode_error=on_decode_error, strict_timing=strict_timing, sound=sound
    )
    refused = False
    for video in videos:
        try:
            found = probe_source(str(video.absolute()), options)
        except VideoError as error:
            refused = True
            _print_refusal(video, error, json_output=json_output)
            continue
        if json_output:
            print(json.dumps({"video": str(video), **_as_json(found)}), flush=True)
        else:
            print(*map(printable, _lines(video, found)), sep="\n", flush=True)
    if refused:
        raise typer.Exit(ExitCode.FAILED)


def _print_refusal(video: Path, error: Exception, *, json_output: bool) -> None:
    sentence = sentence_of(error)
    if json_output:
        refused = {"code": getattr(error, "code", None), "text": sentence}
        print(json.dumps({"video": str(video), "refused": refused}), flush=True)
    else:
        print(f"{printable(str(video))}\n  refused    {sentence}", flush=True)
    sys.stdout.flush()


def _lines(video: Path, found: "SourceProbe") -> list[str]:
    """Return a table: the action, and the track or the kind of data."""
    info = found.info
    length = "" if info.duration_seconds is None else f", {info.duration_seconds:.2f} s"
    rows = [("kept", text) for text in found.kept]
    rows += [(change.code.action, change.text) for change in found.changes]
    return [f"{video}: {found.container}{length}", *(f"  {action:<9}  {text}" for action, text in rows)]


def _as_json(found: "SourceProbe") -> dict[str, Any]:
    info = found.info
    return {
        "container": found.container,
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "duration_seconds": info.duration_seconds,
        "frame_rate": info.frame_rate,
        "kept": found.kept,
        "changes": [{"action": change.code.action, **asdict(change)} for change in found.changes],
        "refused": None,
    }
