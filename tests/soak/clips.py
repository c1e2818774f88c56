"""The videos of a soak: a second or two of portraits that move a little, small, and some that can't be used."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from defacer_emulator.demo.demo_clip import (
    FaceBox,
    Pose,
    Role,
    demo_cast,
    frame_count,
    render,
    target_picture,
    truth,
)
from defacer_emulator.demo.picture import save_picture, write_clip
from tests.inputs.making import patched

SIZE, RATE = (320, 240), 12


@dataclass(frozen=True)
class Sort:
    """A sort of job. Its channel is called after it.

    `hidden` are whose faces must be hidden; `fails` is the code that it must fail with. `share` is how many of
    twenty jobs are of this sort.
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


def make_sorts(folder: Path) -> tuple[Sort, ...]:
    """Write all videos and pictures."""
    admiral, astronaut = (role.portrait for role in demo_cast())
    left = Role(admiral, (Pose(0, 0.27, 0.5, 0.42), Pose(1, 0.31, 0.47, 0.44)))
    right = Role(astronaut, (Pose(0, 0.73, 0.5, 0.44), Pose(1, 0.69, 0.52, 0.42)))
    walks = Role(astronaut, (Pose(0, 0.2, 0.5, 0.4), Pose(1, 0.8, 0.48, 0.44)))
    comes = Role(admiral, (Pose(0, 0.4, 0.5, 0.32), Pose(1, 0.5, 0.5, 0.52)))

    two, two_faces = _clip(folder / "two.mp4", 2.0, (left, right))
    walk, walk_faces = _clip(folder / "walk.mp4", 3.0, (walks,))
    one, one_faces = _clip(folder / "one.mp4", 1.0, (comes,))
    me, nobody = folder / "me.png", folder / "nobody.png"
    target_picture(me)
    save_picture(nobody, np.full((200, 200, 3), 120, np.uint8))
    text = folder / "text.mp4"
    text.write_bytes(b"this is no video\n" * 200)
    both = ("admiral", "astronaut")
    return (
        Sort("everyone", 5, two, hidden=both, faces=two_faces),
        Sort("target", 5, two, "pixelate", target=me, hidden=("admiral",), faces=two_faces),
        Sort("walk", 3, walk, "pixelate", hidden=("astronaut",), faces=walk_faces),
        Sort("one", 4, one, "solid", hidden=("admiral",), faces=one_faces),
        Sort("text", 1, text, fails="not-a-video"),
        Sort("damaged", 1, _damaged(two, folder / "damaged.mp4"), fails="not-a-video"),
        Sort("nobody", 1, one, target=nobody, fails="bad-picture"),
    )


def sorts_of(sorts: tuple[Sort, ...], count: int) -> Iterator[Sort]:
    """`count` sorts, each as often as its share says, well mixed."""
    order = [sort for sort in sorts for _ in range(sort.share)]
    for number in range(count):
        yield order[number * 7 % len(order)]


def _clip(path: Path, seconds: float, cast: tuple[Role, ...]) -> tuple[Path, tuple[FaceBox, ...]]:
    frames = frame_count(seconds, RATE)
    write_clip(path, render(cast, frames, SIZE), seconds, SIZE, RATE)
    return path, tuple(truth(cast, frames, SIZE))


def _damaged(source: Path, path: Path) -> Path:
    """A copy of which one packet in the middle has its middle overwritten."""
    path.write_bytes(source.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    packet = packets[len(packets) // 2]

    def change(data: bytearray) -> None:
        start, size = packet.pos + packet.size // 3, packet.size // 2
        data[start : start + size] = bytes((7 * n + 13) % 256 for n in range(size))

    return patched(path, change)
