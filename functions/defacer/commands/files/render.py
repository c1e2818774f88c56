"""`defacer render`: write a local file again with other decisions."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from defacer.commands.common.conventions import Force, Json, example_text, verbosity
from defacer.commands.corrections import (
    AllowUncoverOption,
    DecisionsOption,
    LookAgainOption,
    MaskOption,
    MasksOption,
    NoFollowOption,
    SplitOption,
    TracksOption,
    import_file,
    read_corrections,
    read_decisions,
    require_tracks,
    split_tracks,
)
from defacer.commands.files import engine_options as chosen
from defacer.program import program, quote_words

EXAMPLES = """\
defacer render vlog.mp4 safe.report.jsonl again.mp4 --hide 4 --keep 7
defacer render vlog.mp4 safe.report.jsonl again.mp4 --mode pixelate
defacer render vlog.mp4 safe.report.jsonl again.mp4 --mask 0:12-0:14.5@600,80,90,120
defacer render vlog.mp4 safe.report.jsonl again.mp4 --look-again 0:12-0:20
defacer render vlog.mp4 safe.report.jsonl again.mp4 --split 4@0:12.5
defacer render vlog.mp4 safe.report.jsonl again.mp4 --tracks corrected.xml
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=chosen.RenderCommand, epilog=example_text(EXAMPLES), no_args_is_help=True)
def render(  # noqa: PLR0913 - Typer reads the options from the parameters
    context: typer.Context,
    video: Annotated[Path, typer.Argument(metavar="IN", help="The video that the report is about.")],
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="The report of `defacer run --report`, or of a job.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The MP4 to write.")],
    keep: Annotated[
        list[int] | None,
        typer.Option("--keep", metavar="TRACK", help="Keep the track of this number. Repeatable."),
    ] = None,
    hide: Annotated[
        list[int] | None,
        typer.Option("--hide", metavar="TRACK", help="Hide the track of this number. Repeatable."),
    ] = None,
    mask: MaskOption = None,
    masks: MasksOption = None,
    no_follow: NoFollowOption = False,
    look_again: LookAgainOption = None,
    split: SplitOption = None,
    tracks: TracksOption = None,
    decisions: DecisionsOption = None,
    allow_uncover: AllowUncoverOption = False,
    mode: chosen.ModeOption = None,
    strength: chosen.StrengthOption = None,
    color: chosen.ColorOption = None,
    replacement: chosen.ReplacementOption = None,
    quality: chosen.QualityOption = None,
    size: chosen.SizeOption = None,
    verify: chosen.VerifyOption = None,
    sound: chosen.SoundOption = None,
    write_report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write the new report.")
    ] = None,
    force: Force = False,
    json_output: Json = False,
) -> None:
    """Write a video again with other decisions for some tracks, with split tracks, and with masks that you draw.

    `defacer tracks REPORT` lists the tracks. The detector runs again only for --mask and --look-again. Options that
    you leave out are as in the report.
    """
    from defacer.commands.common.terminal import Terminal
    from defacer.commands.files import results
    from defacer.commands.files.local_files import LocalFile
    from defacer.commands.track_table import added_lines
    from defacer.engine.file_report import Report
    from defacer.engine.redact_file import check_files, find_tracks
    from defacer.engine.redact_file import render as render_again
    from defacer.report.edits import Edits

    reads = [video, report, *filter(None, (replacement, masks, tracks))]
    corrections = read_corrections(mask, masks, look_again, follow=not no_follow)
    decided = read_decisions(decisions, keep or [], hide or [])
    check_files(reads, [out, *([write_report] if write_report else [])], force=force)
    old = Report.read(report)
    options = chosen.with_given(
        old.options,
        mode=mode,
        strength=strength,
        color=color,
        quality=quality,
        size=size,
        verify=verify,
        sound=sound,
    )
    listing = f"{program()} {quote_words(('tracks', report))}"
    parts = split_tracks(split, old.faces, listing)
    file = LocalFile(video, out, write_report)
    terminal = Terminal(verbosity(context))
    imported = Edits()
    if tracks:
        source, faces, wanted = str(video.absolute()), old.faces, decided.decisions
        imported = import_file(
            tracks, source, faces, old.fingerprint, wanted, terminal, allow_uncover=allow_uncover
        )
    count = len(old.tracks) + len(imported.added) + len(parts)
    require_tracks(decided.decisions, count + (corrections.max_added if corrections else 0), listing)
    with results.name_interrupted_files(file, terminal.print_line), terminal.show_files(1) as progress:

        def show(stage: str, done: int, total: int | None) -> None:
            progress.show(video.name, stage, done, total)

        drawn = find_tracks(video, old, corrections, show) if corrections else []
        require_tracks(decided.decisions, count + len(drawn), listing)
        edits = imported.merge(replace(decided, added=(*parts, *drawn)))
        new = render_again(
            video,
            old,
            out,
            edits=edits,
            options=options,
            replacement=replacement,
            force=force,
            progress=show,
        )
        if write_report:
            new.write(write_report)
    results.print_result(file, new, json_output=json_output)
    if not edits and options == old.options and replacement is None:
        terminal.print_line("No decision was changed. The result is as the report says.")
    elif write_report is None:
        terminal.print_line(
            "To be able to change more, add --report FILE. The old report has none of these changes."
        )
    for line in added_lines(edits.added, len(old.tracks), old.faces):
        terminal.print_line(line)
