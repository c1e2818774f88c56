"""`demo`: run the whole pipeline in one command, from a generated clip to a picture of the result."""

import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defacer.engine.errors import VideoError
from defacer.engine.media.reader import probe
from defacer_emulator import uploading, waiting
from defacer_emulator.commands import drop
from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture
from defacer_emulator.demo.drawn_clip import make_drawn_clip, write_drawn_target_picture
from defacer_emulator.demo.picture import before_and_after
from defacer_emulator.emulator import Emulator, EmulatorOptions, PubSubKind
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.job_reader import JobReader
from defacer_emulator.processes.state import ENGINE, ROOT
from defacer_emulator.setup.files import check_inputs, check_mode, check_out, report_beside
from defacer_emulator.setup.weights_download import fetch_weights
from defacer_emulator.terminal import Terminal
from defacer_emulator.uploading import Upload

FOLDER = ROOT / "demo"
CHANNEL = "demo"
STEPS = 5  # make prints the first one, the installation


@dataclass(frozen=True)
class Demo:
    """What to redact. Without a video, the demo generates a clip of two people and keeps one of them.

    With `drawn`, the people in that clip are drawings, for pictures that must not show real people.
    """

    video: Path | None = None
    targets: tuple[Path, ...] = ()
    drawn: bool = False
    mode: str | None = None
    replacement: Path | None = None
    out: Path | None = None
    force: bool = False
    pubsub: PubSubKind = "auto"


def run_demo(demo: Demo) -> int:
    """Start an emulator, drop the video, wait, save the result and a picture of it, and stop the emulator."""
    terminal = Terminal()
    out = demo.out or FOLDER / "result.mp4"
    FOLDER.mkdir(exist_ok=True)
    check_mode(demo.mode, demo.replacement)
    inputs = [*filter(None, (demo.video, demo.replacement)), *demo.targets]
    # The demo replaces its own earlier result.
    check_out(out, inputs, force=demo.force or demo.out is None)
    check_inputs(CHANNEL, demo.video, demo.targets, demo.replacement)
    terminal.print_line(f"2/{STEPS} Checking the models' weights (18 MB, downloaded once) ...")
    fetch_weights(lambda line: terminal.print_line(f"    {line} ..."))
    terminal.print_line(
        f"3/{STEPS} {'Checking the video' if demo.video else 'Generating a clip of two people'} ..."
    )
    video, targets = demo.video, demo.targets
    if video is None and demo.drawn:
        video = _generate_once(FOLDER / "drawn.mp4", make_drawn_clip)
        targets = targets or (_generate_once(FOLDER / "woman.png", write_drawn_target_picture),)
    elif video is None:
        video = _generate_once(FOLDER / "clip.mp4", make_demo_clip)
        targets = targets or (_generate_once(FOLDER / "astronaut.png", write_target_picture),)
    upload = Upload(video, CHANNEL, targets, mode=demo.mode, replacement=demo.replacement)
    uploading.check_upload(upload)
    _check_readable(video)
    state = Path(tempfile.mkdtemp(prefix="emulator-", dir=FOLDER))
    try:
        _redact(upload, out, EmulatorOptions(state, demo.pubsub), terminal)
    except EmulatorUsageError:
        shutil.rmtree(state)
        raise
    except EmulatorError as error:
        shutil.rmtree(state / "storage", ignore_errors=True)
        raise EmulatorError(f"{error}\nThe logs of this run are in {state / 'logs'}.") from error
    except KeyboardInterrupt:
        shutil.rmtree(state)
        raise
    shutil.rmtree(state)
    return 0


def _check_readable(video: Path) -> None:
    """Raise EmulatorUsageError unless FFmpeg can read the video. The start of the emulator would take longer."""
    try:
        probe(str(video))
    except VideoError as error:
        raise EmulatorUsageError(f"{video}: {error}") from error


def _generate_once(path: Path, generate: Callable[[Path], None]) -> Path:
    """Generate a file of the demo on first use, and return its path. `make clean` deletes it."""
    if not path.exists():
        complete = path.with_name(f"part-{path.name}")
        generate(complete)
        complete.replace(path)
    return path


def _redact(upload: Upload, out: Path, options: EmulatorOptions, terminal: Terminal) -> None:
    picture = FOLDER / "before_and_after.png"
    terminal.print_line(f"4/{STEPS} Starting the emulator ...")
    with Emulator(options) as emulator:
        terminal.print_line(f"5/{STEPS} Redacting {upload.video.name} ...")
        uploaded = uploading.upload_video(upload, emulator.state, terminal)
        reader = JobReader(emulator.storage_client(), emulator.resources)
        watch = waiting.Watch(reader, terminal, emulator.check, emulator.folder.logs)
        # The emulator of the demo stops soon, so the command `rerender` would not work.
        files = " ".join(shlex.quote(str(path)) for path in (upload.video, report_beside(out)))
        drop.wait_and_save(uploaded, watch, out, f"{ENGINE} render {files} OUT.mp4")
    try:
        before_and_after(upload.video, out, picture)
    except VideoError as error:
        raise EmulatorError(
            f"The picture of the result was not written: {error}. The result is {out}."
        ) from error
    print(f"picture: {picture}")
