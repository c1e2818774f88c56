"""The videos of a soak: small clips of moving portraits of a few seconds, and files that can't be processed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from defacer_emulator.demo.demo_clip import (
    Pose,
    Role,
    count_frames,
    demo_cast,
    render_frames,
    write_target_picture,
)
from defacer_emulator.demo.picture import save_picture, write_clip
from tests.demo_boxes import FaceBox, compute_boxes
from tests.inputs.write_video import patch

SIZE, RATE = (320, 240), 12


@dataclass(frozen=True)
class JobKind:
    """A kind of job, with its own channel.

    `hidden` are the people whose faces must be hidden. `fails` is the expected error code. `share`
    is the number of jobs of this kind among twenty.
    """

    name: str
    share: int
    video: Path
    mode: str = "blur"
    target: Path | None = None
    hidden: tuple[str, ...] = ()
    faces: tuple[FaceBox, ...] = ()
    fails: str | None = None

    @property
    def channel(self) -> str:
        return f"soak-{self.name}"


def make_kinds(folder: Path) -> tuple[JobKind, ...]:
    """Write all videos and pictures, and return the kinds of jobs."""
    admiral, astronaut = (role.portrait for role in demo_cast())
    left = Role(admiral, (Pose(0, 0.27, 0.5, 0.42), Pose(1, 0.31, 0.47, 0.44)))
    right = Role(astronaut, (Pose(0, 0.73, 0.5, 0.44), Pose(1, 0.69, 0.52, 0.42)))
    walks = Role(astronaut, (Pose(0, 0.2, 0.5, 0.4), Pose(1, 0.8, 0.48, 0.44)))
    comes = Role(admiral, (Pose(0, 0.4, 0.5, 0.32), Pose(1, 0.5, 0.5, 0.52)))

    two, two_faces = _write_clip(folder / "two.mp4", 2.0, (left, right))
    walk, walk_faces = _write_clip(folder / "walk.mp4", 3.0, (walks,))
    one, one_faces = _write_clip(folder / "one.mp4", 1.0, (comes,))
    me, nobody = folder / "me.png", folder / "nobody.png"
    write_target_picture(me)
    save_picture(nobody, np.full((200, 200, 3), 120, np.uint8))
    text = folder / "text.mp4"
    text.write_bytes(b"this is no video\n" * 200)
    both = ("admiral", "astronaut")
    return (
        JobKind("everyone", 5, two, hidden=both, faces=two_faces),
        JobKind("target", 5, two, "pixelate", target=me, hidden=("admiral",), faces=two_faces),
        JobKind("walk", 3, walk, "pixelate", hidden=("astronaut",), faces=walk_faces),
        JobKind("one", 4, one, "solid", hidden=("admiral",), faces=one_faces),
        JobKind("text", 1, text, fails="not-a-video"),
        JobKind("damaged", 1, _damage_copy(two, folder / "damaged.mp4"), fails="not-a-video"),
        JobKind("nobody", 1, one, target=nobody, fails="bad-picture"),
    )


def mix_kinds(kinds: tuple[JobKind, ...], count: int) -> Iterator[JobKind]:
    """Yield `count` kinds of jobs by their shares, mixed."""
    order = [kind for kind in kinds for _ in range(kind.share)]
    for number in range(count):
        yield order[number * 7 % len(order)]


def _write_clip(path: Path, seconds: float, cast: tuple[Role, ...]) -> tuple[Path, tuple[FaceBox, ...]]:
    frames = count_frames(seconds, RATE)
    write_clip(path, render_frames(cast, frames, SIZE), seconds, SIZE, RATE)
    return path, tuple(compute_boxes(cast, frames, SIZE))


def _damage_copy(source: Path, path: Path) -> Path:
    """Write a copy with the middle of one packet overwritten."""
    path.write_bytes(source.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    packet = packets[len(packets) // 2]

    def change(data: bytearray) -> None:
        start, size = packet.pos + packet.size // 3, packet.size // 2
        data[start : start + size] = bytes((7 * n + 13) % 256 for n in range(size))

    return patch(path, change)
