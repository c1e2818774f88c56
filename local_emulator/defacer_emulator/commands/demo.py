"""`defacer emulator demo`: the whole pipeline in one command, from a generated clip to a picture of the result."""

import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from defacer.commands.common.conventions import Force, Json, example_text, verbosity
from defacer.commands.common.deployment import Deployment
from defacer.commands.common.exit_codes import CommandError
from defacer.commands.common.result_files import check_result, report_beside
from defacer.commands.common.terminal import Terminal
from defacer.commands.jobs.waiting import WaitOptions, print_result
from defacer.engine.errors import VideoError
from defacer.engine.media.reader import read_video_info
from defacer.engine.output_paths import write_atomically
from defacer.program import program
from defacer_emulator.commands.options import Keep, Mode, PubSub, Replacement
from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture
from defacer_emulator.demo.picture import before_and_after
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.processes.environment import use_emulator
from defacer_emulator.setup.files import check_inputs, check_mode
from defacer_emulator.setup.weights_download import fetch_weights
from defacer_emulator.uploading import Upload, check_targets, check_upload, upload_video

FOLDER = Path("demo")  # in the current folder
CHANNEL = "demo"
STEPS = 5  # make prints the first one, the installation
EXAMPLES = """\
defacer emulator demo
defacer emulator demo --video in.mp4 --keep me.jpg -o out.mp4
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=example_text(EXAMPLES))
def demo(
    context: typer.Context,
    video: Annotated[
        Path | None,
        typer.Option("--video", metavar="V", help="A video instead of a generated clip of two people."),
    ] = None,
    keep: Keep = [],  # noqa: B006
    mode: Mode = None,
    replacement: Replacement = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="The result instead of demo/result.mp4.")
    ] = None,
    force: Force = False,
    pubsub: PubSub = "auto",
    json_output: Json = False,
) -> None:
    """Start an emulator, upload a video, wait, save the result and a picture of it, and stop the emulator.

    Without --keep, one of the two people in the generated clip stays visible, and no one in a video of yours.
    """
    terminal = Terminal(verbosity(context))
    result = out or FOLDER / "result.mp4"
    FOLDER.mkdir(exist_ok=True)
    check_mode(mode, replacement)
    # The demo replaces its own earlier result.
    check_result(result, [*filter(None, (video, replacement)), *keep], force=force or out is None)
    check_inputs(CHANNEL, video, keep, replacement)
    terminal.print_line(f"2/{STEPS} Checking the models' weights (18 MB, downloaded once) ...")
    fetch_weights(lambda line: terminal.print_line(f"    {line} ..."))
    terminal.print_line(
        f"3/{STEPS} {'Checking the video' if video else 'Generating a clip of two people'} ..."
    )
    source, targets = video, tuple(keep)
    if source is None:
        source = _generate_once(FOLDER / "clip.mp4", make_demo_clip)
        targets = targets or (_generate_once(FOLDER / "astronaut.png", write_target_picture),)
    upload = Upload(source, CHANNEL, targets, mode=mode, replacement=replacement)
    check_upload(upload)
    check_targets(upload)
    _check_readable(source)
    state = Path(tempfile.mkdtemp(prefix="emulator-", dir=FOLDER))
    try:
        _redact(upload, EmulatorOptions(state, pubsub), WaitOptions(True, result, json_output, terminal))
    except (EmulatorUsageError, KeyboardInterrupt):
        shutil.rmtree(state)
        raise
    except (EmulatorError, CommandError) as error:
        raise EmulatorError(f"{error}\nThe logs of this run are in {state / 'logs'}.") from error
    finally:  # it has the video with all its faces
        shutil.rmtree(state / "storage", ignore_errors=True)
    shutil.rmtree(state)
    terminal.print_line(f"Your own video: {program()} run VIDEO --keep PICTURE")


def _check_readable(video: Path) -> None:
    """Raise VideoError unless FFmpeg can read the video. The start of the emulator would take longer."""
    try:
        read_video_info(str(video))
    except VideoError as error:
        raise VideoError(f"{video}: {error}") from error


def _generate_once(path: Path, generate: Callable[[Path], None]) -> Path:
    """Generate a file of the demo on first use, and return its path. `make clean` deletes it."""
    if not path.exists():
        with write_atomically(path) as temporary:
            generate(temporary)
    return path


def _redact(upload: Upload, options: EmulatorOptions, waiting: WaitOptions) -> None:
    terminal, out = waiting.terminal, waiting.out
    assert out is not None  # noqa: S101 - the demo always saves its result
    picture = FOLDER / "before_and_after.png"
    terminal.print_line(f"4/{STEPS} Starting the emulator ...")
    with Emulator(options) as emulator, use_emulator(emulator.state):
        terminal.print_line(f"5/{STEPS} Redacting {upload.video.name} ...")
        started = upload_video(upload, terminal)
        deployment = Deployment(check=emulator.check, logs=emulator.folder.logs)
        # The emulator of the demo stops soon, so `job rerender` would not work.
        files = " ".join(shlex.quote(str(path)) for path in (upload.video, report_beside(out)))
        print_result(started, deployment, waiting, f"{program()} render {files} OUT.mp4")
    try:
        before_and_after(upload.video, out, picture)
    except VideoError as error:
        raise EmulatorError(
            f"The picture of the result was not written: {error}. The result is {out}."
        ) from error
    terminal.print_line(f"picture: {picture} (with the faces of the source on its left side)")
