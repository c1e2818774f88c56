"""`defacer run`: redact files on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defacer.commands.common.conventions import Force, Json, example_text, verbosity
from defacer.commands.common.exit_codes import ExitCode, UsageError
from defacer.commands.files import engine_options as chosen
from defacer.plurals import pluralize, printable

if TYPE_CHECKING:
    from defacer.commands.common.terminal import FileProgress, Terminal
    from defacer.commands.files.local_files import FilePlan, LocalFile
    from defacer.engine.redact_file import FileRedactor

EXAMPLES = """\
defacer run street.mp4                              hide everyone, write street.defaced.mp4
defacer run vlog.mp4 --keep me.jpg -o safe.mp4      hide everyone but me
defacer run vlog.mp4 --keep me.jpg --keep friend/ --mode pixelate
defacer run vlog.mp4 --keep-at 0:12.5               hide everyone but the person at 12.5 seconds
defacer run holidays/ -o safe/ --report safe/       all videos of a folder, each with a report
defacer run vlog.mp4 --mode image --replacement smiley.png
"""
Inputs = Annotated[list[Path], typer.Argument(metavar="IN", help="Videos, or folders with videos.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="OUT|DIR",
        help="The MP4 to write. For several videos, a folder. [default: NAME.defaced.mp4 beside the video]",
    ),
]
Keep = Annotated[
    list[Path] | None,
    typer.Option(
        "--keep",
        metavar="PICTURE|DIR",
        help="A picture of a person who stays visible, or a folder with pictures of one person. JPEG, PNG, WebP, "
        "HEIC, AVIF or TIFF. Repeat it for several people. [default: hide everyone]",
    ),
]
KeepPeople = Annotated[
    Path | None,
    typer.Option(
        "--keep-people",
        metavar="DIR",
        help="A folder with several people, as DIR/PERSON.jpg or DIR/PERSON/1.jpg.",
    ),
]
KeepAt = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-at",
        metavar="TIME[#N]",
        help="Keep the person whose face the video shows at this time, such as 0:12.5. With several faces, #2 is "
        "the second from the left. Repeat it for several people.",
    ),
]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE|DIR",
        help="Also write a report, which `defacer tracks` lists and `defacer render` reads. For several videos, a "
        "folder.",
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Skip each video whose outputs are newer than it. They can have been made with other options or people.",
    ),
]
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES), no_args_is_help=True)
def run(  # noqa: PLR0913 - Typer reads the options from the parameters
    context: typer.Context,
    inputs: Inputs,
    out: Out = None,
    keep: Keep = None,
    keep_people: KeepPeople = None,
    keep_at: KeepAt = None,
    mode: chosen.ModeOption = None,
    strength: chosen.StrengthOption = None,
    color: chosen.ColorOption = None,
    replacement: chosen.ReplacementOption = None,
    recognition: chosen.RecognitionOption = None,
    match_threshold: chosen.MatchThresholdOption = None,
    recognizer: chosen.RecognizerOption = None,
    detector: chosen.DetectorOption = None,
    quality: chosen.QualityOption = None,
    size: chosen.SizeOption = None,
    copy_untouched: chosen.CopyUntouchedOption = None,
    on_decode_error: chosen.OnDecodeErrorOption = None,
    strict_timing: chosen.StrictTimingOption = None,
    verify: chosen.VerifyOption = None,
    sound: chosen.SoundOption = None,
    report: ReportPath = None,
    skip_existing: SkipExisting = False,
    force: Force = False,
    json_output: Json = False,
) -> None:
    """Hide every face in videos, except those of the people you keep.

    Continues with the next video after a failure. Exit code 1: a video failed.
    """
    from defacer.commands.common.terminal import Terminal
    from defacer.commands.files.local_files import plan_files
    from defacer.commands.files.results import ignored_line, print_skipped
    from defacer.commands.files.targets import ask_on_terminal
    from defacer.engine.option_check import check_options
    from defacer.engine.options import Options
    from defacer.engine.recognition.target_files import find_people
    from defacer.engine.redact_file import FileRedactor, check_files, choose_faces, read_replacement

    terminal = Terminal(verbosity(context))
    people = find_people(keep or [], keep_people, terminal.print_line)
    covers = [replacement] if replacement else []
    check_files(covers, [], force=force)
    plan = plan_files(
        inputs,
        out,
        report,
        [*(file.path for file in people), *covers],
        force=force,
        skip_existing=skip_existing,
    )
    for name, value in (("recognition", recognition), ("match-threshold", match_threshold)):
        if value is not None and not (people or keep_at):
            raise UsageError(f"--{name} decides which faces match a kept person. Add --keep PICTURE.")
    if keep_at and (count := len(plan.to_do) + len(plan.done)) > 1:
        raise UsageError(
            f"--keep-at {keep_at[0]} is a time of one video, but {count} are given. Run each video alone."
        )
    options = chosen.with_given(
        Options(),
        mode=mode,
        strength=strength,
        color=color,
        detector=detector,
        recognizer=recognizer,
        recognition=recognition,
        match_threshold=match_threshold,
        quality=quality,
        size=size,
        copy_untouched=copy_untouched,
        on_decode_error=on_decode_error,
        strict_timing=strict_timing,
        verify=verify,
        sound=sound,
    )
    check_options(options, has_replacement=replacement is not None)
    if plan.ignored:
        terminal.print_line(ignored_line(plan.ignored))
    for file in plan.done:
        print_skipped(file, json_output=json_output)
    if not plan.to_do:
        return
    redactor = FileRedactor(
        options,
        [file.read() for file in people],
        choose_faces(
            plan.to_do[0].video, keep_at or [], options.detector, terminal.print_line, ask_on_terminal()
        ),
        read_replacement(replacement),
        force,
    )
    _redact_all(redactor, plan, terminal, json_output=json_output)


def _redact_all(
    redactor: "FileRedactor", plan: "FilePlan", terminal: "Terminal", *, json_output: bool
) -> None:
    """Redact the planned files. Raise Exit if one of them failed."""
    from defacer.commands.files.results import correction_hint

    shown: set[str] = set()
    with plan.created_folders(), terminal.show_files(len(plan.to_do)) as progress:
        failed = [
            str(file.video)
            for file in plan.to_do
            if not _redact(redactor, file, terminal, progress, shown, json_output=json_output)
        ]
    if failed and len(plan.to_do) > 1:
        videos, names = pluralize(len(plan.to_do), "video"), printable(", ".join(failed))
        print(f"error: {len(failed)} of {videos} failed: {names}", file=sys.stderr)
    if failed:
        raise typer.Exit(ExitCode.FAILED)
    terminal.print_line(correction_hint(plan.to_do[0]))


def _redact(
    redactor: "FileRedactor",
    file: "LocalFile",
    terminal: "Terminal",
    progress: "FileProgress",
    shown: set[str],
    *,
    json_output: bool,
) -> bool:
    """Redact one file and print the result. Return whether it succeeded. Raise an error that all files would have.

    A warning in `shown` is not printed again: those about target pictures are the same for each file.
    """
    from defacer.commands.files import results
    from defacer.engine import errors

    def show(stage: str, done: int, total: int | None) -> None:
        progress.show(file.video.name, stage, done, total)

    try:
        with results.name_interrupted_files(file, terminal.print_line):
            report = redactor.redact(file.video, file.out, show)
            if file.report:
                report.write(file.report)
    except (errors.ArgumentError, errors.MissingPackageError, errors.PictureError, errors.WeightsError):
        raise
    except (errors.EngineError, OSError) as error:
        results.print_failure(file.video, error, json_output=json_output)
        return False
    finally:
        progress.end_file()
    results.print_result(file, report, json_output=json_output)
    for line in results.warning_lines(file, report):
        if line not in shown:
            terminal.print_line(f"warning: {line}", style="yellow")
        shown.add(line)
    return True
