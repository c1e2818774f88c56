"""`demo`: the whole path in one command, from a clip that it makes to a result that can be looked at."""

import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defacer.engine.errors import VideoError
from defacer.engine.media.reader import probe
from defacer_emulator import uploading as upload
from defacer_emulator import waiting
from defacer_emulator.commands import drop as drop_command
from defacer_emulator.demo.demo_clip import make_demo_clip, target_picture
from defacer_emulator.demo.drawn_clip import drawn_target_picture, make_drawn_clip
from defacer_emulator.demo.picture import before_and_after
from defacer_emulator.emulator import Emulator, Options, PubSubKind
from defacer_emulator.errors import EmulatorError, UsageError
from defacer_emulator.jobs import JobReader
from defacer_emulator.processes.state import ENGINE, ROOT
from defacer_emulator.setup.files import check_inputs, check_mode, check_out, report_beside
from defacer_emulator.setup.weights import fetch_weights
from defacer_emulator.terminal import Terminal
from defacer_emulator.uploading import Upload

FOLDER = ROOT / "demo"
CHANNEL = "demo"
STEPS = 5  # the first is the installation, which make prints


@dataclass(frozen=True)
class Demo:
    """What to show. Without a video one is made, and one of the two people in it is kept.

    `drawn`: the people in it are drawn, so that a picture of the result shows nobody who exists.
    """

    video: Path | None = None
    targets: tuple[Path, ...] = ()
    drawn: bool = False
    mode: str | None = None
    replacement: Path | None = None
    out: Path | None = None
    force: bool = False
    pubsub: PubSubKind = "auto"


def run(demo: Demo) -> int:
    """Start an emulator, drop the video, wait, save the result and a picture of it, and stop everything."""
    terminal = Terminal()
    out = demo.out or FOLDER / "result.mp4"
    FOLDER.mkdir(exist_ok=True)
    check_mode(demo.mode, demo.replacement)
    inputs = [*filter(None, (demo.video, demo.replacement)), *demo.targets]
    # The demo replaces its own earlier result.
    check_out(out, inputs, force=demo.force or demo.out is None)
    check_inputs(CHANNEL, demo.video, demo.targets, demo.replacement)
    terminal.say(f"2/{STEPS} Checking the models' weights (18 MB, downloaded once) ...")
    fetch_weights(lambda line: terminal.say(f"    {line} ..."))
    terminal.say(f"3/{STEPS} {'Checking the video' if demo.video else 'Making a clip of two people'} ...")
    video, targets = demo.video, demo.targets
    if video is None and demo.drawn:
        video = _made(FOLDER / "drawn.mp4", make_drawn_clip)
        targets = targets or (_made(FOLDER / "woman.png", drawn_target_picture),)
    elif video is None:
        video = _made(FOLDER / "clip.mp4", make_demo_clip)
        targets = targets or (_made(FOLDER / "astronaut.png", target_picture),)
    drop = Upload(video, CHANNEL, targets, mode=demo.mode, replacement=demo.replacement)
    upload.check(drop)
    _check_readable(video)
    state = Path(tempfile.mkdtemp(prefix="emulator-", dir=FOLDER))
    try:
        _show(drop, out, Options(state, demo.pubsub), terminal)
    except UsageError:
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
    """Raise UsageError unless FFmpeg reads it as a video: found out here, before the emulator starts."""
    try:
        probe(str(video))
    except VideoError as error:
        raise UsageError(f"{video}: {error}") from error


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """A file of the demo, made on first use. `make clean` deletes it."""
    if not path.exists():
        complete = path.with_name(f"part-{path.name}")
        make(complete)
        complete.replace(path)
    return path


def _show(drop: Upload, out: Path, options: Options, terminal: Terminal) -> None:
    picture = FOLDER / "before_and_after.png"
    terminal.say(f"4/{STEPS} Starting the emulator ...")
    with Emulator(options) as emulator:
        terminal.say(f"5/{STEPS} Redacting {drop.video.name} ...")
        dropped = upload.upload(drop, emulator.state, terminal)
        reader = JobReader(emulator.storage_client(), emulator.resources)
        watch = waiting.Watch(reader, terminal, emulator.check, emulator.folder.logs)
        # The emulator of the demo is about to stop, so `again` cannot be the advice.
        files = " ".join(shlex.quote(str(path)) for path in (drop.video, report_beside(out)))
        drop_command.finish(dropped, watch, out, f"{ENGINE} rerender {files} OUT.mp4")
    try:
        before_and_after(drop.video, out, picture)
    except ValueError as error:
        raise EmulatorError(f"No picture of the result could be made: {error}") from error
    print(f"picture: {picture}")
