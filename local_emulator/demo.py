"""`demo`: the whole path in one command, from a clip that it makes to a result that can be looked at."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_emulator import drop as upload
from local_emulator import dropping, waiting
from local_emulator.demo_clip import make_demo_clip, target_picture
from local_emulator.drawn_clip import drawn_target_picture, make_drawn_clip
from local_emulator.drop import Drop
from local_emulator.emulator import Emulator, Options, PubSubKind
from local_emulator.errors import EmulatorError, UsageError
from local_emulator.jobs import JobReader
from local_emulator.picture import before_and_after
from local_emulator.state import ROOT
from local_emulator.terminal import Terminal
from local_emulator.weights import fetch_weights

FOLDER = ROOT / "demo"
CHANNEL = "demo"


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
    FOLDER.mkdir(exist_ok=True)
    video, targets = demo.video, demo.targets
    if video is None and demo.drawn:
        video = _made(FOLDER / "drawn.mp4", make_drawn_clip, terminal)
        targets = targets or (_made(FOLDER / "woman.png", drawn_target_picture, terminal),)
    elif video is None:
        video = _made(FOLDER / "clip.mp4", make_demo_clip, terminal)
        targets = targets or (_made(FOLDER / "astronaut.png", target_picture, terminal),)
    drop = Drop(video, CHANNEL, targets, mode=demo.mode, replacement=demo.replacement)
    out = demo.out or FOLDER / "result.mp4"
    upload.check(drop)
    upload.check_replacement(drop, there=False)
    # The demo replaces its own earlier result.
    waiting.check_out(out, drop.files, force=demo.force or demo.out is None)
    fetch_weights()
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


def _made(path: Path, make: Callable[[Path], None], terminal: Terminal) -> Path:
    """A file of the demo, made on first use. `make clean` forgets it."""
    if not path.exists():
        terminal.say(f"Making {path.relative_to(ROOT)} ...")
        complete = path.with_name(f"part-{path.name}")
        make(complete)
        complete.replace(path)
    return path


def _show(drop: Drop, out: Path, options: Options, terminal: Terminal) -> None:
    picture = FOLDER / "before_and_after.png"
    terminal.say("Starting the emulator ...")
    with Emulator(options) as emulator:
        dropped = upload.upload(drop, emulator.state, terminal)
        reader = JobReader(emulator.storage_client(), emulator.resources)
        watch = waiting.Watch(reader, terminal, emulator.check, emulator.folder.logs)
        dropping.finish(dropped, watch, out)
    try:
        before_and_after(drop.video, out, picture)
    except ValueError as error:
        raise EmulatorError(f"No picture of the result could be made: {error}") from error
    print(f"picture: {picture}")
