"""`defacer emulator upload`: upload a video, and with `--wait` or `-o` wait for its result."""

from pathlib import Path
from typing import Annotated

import typer

from defacer.commands.common.conventions import Force, Json, example_text, verbosity
from defacer.commands.common.deployment import Folder, use_deployment
from defacer.commands.common.exit_codes import UsageError
from defacer.commands.common.result_files import check_result
from defacer.commands.common.terminal import Terminal
from defacer.commands.jobs.waiting import WaitOptions, print_started_job
from defacer_emulator.commands.options import Keep, Mode, Replacement
from defacer_emulator.uploading import Upload, check_new_targets, check_upload, upload_video

EXAMPLES = """\
defacer emulator upload in.mp4 --keep me.jpg -o out.mp4
defacer emulator upload in.mp4 --channel street --mode pixelate     does not wait for the result
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES))
def upload(  # noqa: PLR0913 - each argument is an option
    context: typer.Context,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The video.")],
    channel: Annotated[str, typer.Option("--channel", metavar="NAME", help="The channel.")] = "demo",
    keep: Keep = [],  # noqa: B006
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="The channel's policy.json.")
    ] = None,
    mode: Mode = None,
    replacement: Replacement = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end and print the kept and hidden tracks.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT", help="Wait, then save the result here and its report beside it."
        ),
    ] = None,
    force: Force = False,
    folder: Folder = None,
    json_output: Json = False,
) -> None:
    """Upload a video with the pictures of the people to keep, and print its job."""
    if policy is not None and mode is not None:
        raise UsageError("--policy and --mode exclude each other. Put the mode into the policy.")
    chosen = Upload(video, channel, tuple(keep), policy, mode, replacement)
    check_upload(chosen)
    if out is not None:
        check_result(out, chosen.files, force=force)
    terminal = Terminal(verbosity(context))
    with use_deployment(True, folder, None) as deployment:
        check_new_targets(chosen)
        started = upload_video(chosen, terminal)
        print_started_job(started, deployment, WaitOptions(wait, out, json_output, terminal))
