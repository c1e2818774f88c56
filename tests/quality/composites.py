"""Videos with several people, joined from public clips of one person each; who is where is known by construction.

    python -m tests.quality.composites [NAME ...]       build the composites into the cache folder

| kind | content |
|---|---|
| `cuts-N` | 24 people one after the other, 1 to 3 s each; then each once more, every other one for 0.3 s |
| `pictures-N` | 26 people from pictures that zoom slowly, 0.6 s each; then each once more for 0.3 s |
| `pairs-N` | two people side by side in one frame, 12 pairs of 1.6 s |

A box is graded only where the engine's own detector and a second one agree: exactly one face each, at the same place.
Where they disagree about a person, the person's faces have the role "ignore" in that frame. A target picture comes from
another recording of the person. A person with a single clip has a picture from its first tenth, and the composite
shows the rest. A person with a single picture is shown mirrored.

The interface is stated in `public_clips.py`.
"""

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from functions.engine import weights
from functions.engine.detect import Array, Image, make_detector, overlap
from functions.engine.orientation import orientation_of
from functions.engine.picture import decode_picture
from functions.engine.video import open_video, read_frames
from tests.quality.public_clips import PublicClipsError, PublicFile, default_folder, fetch, public_files

VERSION = 1  # part of the folder's name: raise it when the composites change
SIZE = WIDTH, HEIGHT = 640, 360
RATE = 25
GREY = 96
CUTS_PEOPLE, PICTURES_PEOPLE, PAIRS_PEOPLE = 24, 26, 24  # in one composite
SHOT_FRAMES = (25, 50, 36, 75, 30, 44)  # 1 to 3 s
SHORT_FRAMES, PICTURE_FRAMES, PAIR_FRAMES = 8, 16, 40
FACE_HEIGHTS = (2.4, 3.4, 4.6)  # height of the part of a frame that is shown, in face heights
PICTURE_SHARE = 0.1  # of a clip's frames: kept for the target picture, if it is the person's only file
PICTURE_MARGIN = 0.4  # of the face's width and height, on each side of a target picture
MAX_ZOOM = 0.1
SECOND_DETECTOR_SCORE = 0.7
SAME_FACE = 0.4  # overlap of the boxes of two detectors that agree
Truth = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A person of a composite, with a picture that the composite does not show."""

    person: str
    picture: Path


@dataclass(frozen=True)
class Composite:
    """A video with a truth as in `clips/NAME.json`. A face's track is the index of its person in `targets`."""

    name: str
    video: Path
    truth: Truth = field(repr=False)
    targets: tuple[Target, ...]

    def truth_of(self, target: Target) -> Truth:
        """Return the truth with this person as the target."""
        own = self.targets.index(target)
        faces = [
            [frame, track, "target" if track == own and role == "other" else role, *box]
            for frame, track, role, *box in self.truth["faces"]
        ]
        return {**self.truth, "target_image": str(target.picture), "faces": faces}


@dataclass(frozen=True)
class Shot:
    """A part of one person's clip or picture, to be shown in a slot. `height` is in face heights."""

    person: str
    file: PublicFile
    first_frame: int
    frames: int
    height: float
    is_mirrored: bool = False


@dataclass(frozen=True)
class Plan:
    """The scenes of a composite: the shots of a scene are shown side by side."""

    name: str
    scenes: tuple[tuple[Shot, ...], ...]

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(shot.person for scene in self.scenes for shot in scene))


def composites(
    progress: Callable[[str], None] = lambda _: None,
    names: Sequence[str] = (),
    *,
    files: Sequence[PublicFile] | None = None,
    folder: Path | None = None,
) -> Iterator[Composite]:
    """Yield the composites with these names, or all. Composites that are not in `folder` are built.

    `progress` gets a line before each step that takes long. Raises PublicClipsError.
    """
    files = public_files() if files is None else files
    folder = folder or default_folder()
    library = Library(files, fetch(files, progress, folder=folder))
    listed = hashlib.sha256(repr(files).encode()).hexdigest()[:8]
    target = folder / f"composites-{VERSION}-{listed}"
    for plan in plans(library):
        if not names or plan.name in names:
            if not (target / f"{plan.name}.json").exists():
                progress(f"building {plan.name}: {len(plan.people)} people, {len(plan.scenes)} scenes")
                _build(plan, library, target)
            yield _load(target, plan.name)


class Library:
    """The files of each person: which one shows the target picture, and which ones are for the composites."""

    def __init__(self, files: Sequence[PublicFile], paths: dict[PublicFile, Path]):
        self.paths = paths
        self.own: dict[str, list[PublicFile]] = {}
        for file in files:
            self.own.setdefault(file.person, []).append(file)
        self._frames: dict[PublicFile, int] = {}

    def people(self, *, with_clip: bool) -> list[str]:
        return [person for person, own in self.own.items() if own[0].is_clip == with_clip]

    def picture_file(self, person: str) -> PublicFile:
        """Return the first picture, or else the last clip."""
        return next((file for file in self.own[person] if not file.is_clip), self.own[person][-1])

    def shown_files(self, person: str) -> list[PublicFile]:
        """Return the files for the composites: of a person with clips, clips."""
        own = [file for file in self.own[person] if file.is_clip == self.own[person][0].is_clip]
        return [file for file in own if file != self.picture_file(person)] or own

    def frames(self, file: PublicFile) -> int:
        """Return the number of frames of a clip, without decoding them."""
        if file not in self._frames:
            with open_video(str(self.paths[file])) as (container, stream):
                self._frames[file] = sum(1 for packet in container.demux(stream) if packet.size)
        return self._frames[file]

    def first_frame(self, file: PublicFile) -> int:
        """Return the first frame that a composite may show."""
        is_for_picture = file == self.picture_file(file.person)
        return max(1, round(PICTURE_SHARE * self.frames(file))) if is_for_picture else 0

    def images(self, shot: Shot) -> Iterator[Image]:
        """Yield the shot's images, whole and upright, RGB."""
        if shot.file.is_clip:
            frames = read_frames(str(self.paths[shot.file]))
            shown = islice(frames, shot.first_frame, shot.first_frame + shot.frames)
            images: Iterator[Image] = (_displayed(frame) for frame in shown)
        else:
            images = _zoomed(self._still(shot.file), shot.frames)
        return (np.ascontiguousarray(image[:, ::-1]) for image in images) if shot.is_mirrored else images

    def target_images(self, person: str) -> Iterator[Image]:
        """Yield the images that a target picture can be cut from, the best first."""
        file = self.picture_file(person)
        if not file.is_clip:
            yield self._still(file)
        else:
            reserved = self.first_frame(file) if file in self.shown_files(person) else RATE
            yield from self.images(Shot(person, file, 0, reserved, 0))

    def _still(self, file: PublicFile) -> Image:
        return decode_picture(self.paths[file].read_bytes(), file.path)


def plans(library: Library) -> Iterator[Plan]:
    """Yield the plans of all composites, which depend on the list of files alone."""
    chance = random.Random(16)
    with_clip, with_pictures = library.people(with_clip=True), library.people(with_clip=False)
    for number, people in enumerate(_groups(with_clip, CUTS_PEOPLE, chance), 1):
        shots = _Shots(library)
        first = [shots.next(person, SHOT_FRAMES[n % len(SHOT_FRAMES)]) for n, person in enumerate(people)]
        again = _reordered(people, chance)
        second = [shots.next(person, (SHORT_FRAMES, RATE)[n % 2]) for n, person in enumerate(again)]
        yield Plan(f"cuts-{number}", tuple((shot,) for shot in chain(first, second)))
    for number, people in enumerate(_groups(with_pictures, PICTURES_PEOPLE, chance), 1):
        shots = _Shots(library)
        first = [shots.next(person, PICTURE_FRAMES) for person in people]
        second = [shots.next(person, SHORT_FRAMES) for person in _reordered(people, chance)]
        yield Plan(f"pictures-{number}", tuple((shot,) for shot in chain(first, second)))
    for number, people in enumerate(_groups(with_clip, PAIRS_PEOPLE, chance), 1):
        shots = _Shots(library)
        pairs = list(zip(people[::2], people[1::2], strict=False))
        scenes = tuple(tuple(shots.next(person, PAIR_FRAMES) for person in pair) for pair in pairs)
        yield Plan(f"pairs-{number}", scenes)


def _groups(people: Sequence[str], size: int, chance: random.Random) -> Iterator[list[str]]:
    """Shuffle the people, and yield groups of nearly equal size, each at most `size`."""
    people = chance.sample(people, len(people))
    count = -(-len(people) // size)
    for number in range(count):
        yield people[number::count]


def _reordered(people: Sequence[str], chance: random.Random) -> list[str]:
    """Return another order that does not begin with the last person of the given order."""
    while (order := chance.sample(people, len(people)))[0] == people[-1] and len(people) > 1:
        pass
    return order


class _Shots:
    """Hands out shots of a person: file by file, each time further on in the file."""

    def __init__(self, library: Library):
        self._library = library
        self._count = 0
        self._turns: dict[str, int] = {}
        self._at: dict[PublicFile, int] = {}

    def next(self, person: str, frames: int) -> Shot:
        files = self._library.shown_files(person)
        turn = self._turns.get(person, 0)
        self._turns[person] = turn + 1
        self._count += 1
        file = files[turn % len(files)]
        height = FACE_HEIGHTS[self._count % len(FACE_HEIGHTS)]
        if not file.is_clip:
            return Shot(person, file, 0, frames, height, file == self._library.picture_file(person))
        first, end = self._library.first_frame(file), self._library.frames(file)
        start = self._at.get(file, first)
        if start + frames > end:
            start = max(first, end - frames)
        frames = min(frames, end - start)
        self._at[file] = start + frames
        return Shot(person, file, start, frames, height)


class _Detectors:
    """The engine's own detector, and YuNet."""

    def __init__(self) -> None:
        self._own = make_detector("centerface")
        self._second = cv2.FaceDetectorYN.create(str(weights.yunet()), "", SIZE, SECOND_DETECTOR_SCORE)

    def boxes(self, image: Image) -> tuple[Array, Array]:
        """Return the boxes (N, 4) that each detector finds in an RGB image, best first."""
        own = [face.box for face in self._own.detect([image])[0] if face.score >= self._own.sure]
        self._second.setInputSize(image.shape[1::-1])
        _, rows = self._second.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        second = np.zeros((0, 4), np.float32) if rows is None else rows[:, :4].astype(np.float32)
        second[:, 2:] += second[:, :2]
        return np.array(own, np.float32).reshape(-1, 4), second

    def largest(self, image: Image) -> Array | None:
        """Return the box of the largest face, or None if the detectors disagree about it."""
        small, scale = _at_most(image, WIDTH)
        box = _agreed(*(_largest(boxes) for boxes in self.boxes(small)))
        return None if box is None else (box / scale).astype(np.float32)


def _at_most(image: Image, side: int) -> tuple[Image, float]:
    """Return the image with a longer side of at most `side`, and its scale."""
    scale = min(1.0, side / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale


def _largest(boxes: Array) -> Array:
    """Return the largest of the boxes (N, 4), as (1, 4), or none."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-areas)[:1]]


def _agreed(own: Array, second: Array) -> Array | None:
    """Return the box of the face if each detector found one, in the same place."""
    if len(own) != 1 or len(second) != 1 or overlap(own[0], second)[0] < SAME_FACE:
        return None
    box: Array = own[0]
    return box


def _build(plan: Plan, library: Library, folder: Path) -> None:
    """Write NAME.mp4, a picture of each person, and NAME.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    detectors = _Detectors()
    pictures = [_write_target(person, library, detectors, folder) for person in plan.people]
    video = folder / f"{plan.name}.mp4"
    faces: list[list[Any]] = []
    count = 0
    with av.open(str(video), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for scene in plan.scenes:
            for image in _scene_images(scene, library, detectors):
                faces += _frame_faces(
                    image, count, [plan.people.index(shot.person) for shot in scene], detectors
                )
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = count
                out.mux(stream.encode(frame))
                count += 1
        out.mux(stream.encode(None))
    truth = {"clip": plan.name, "frames": count, "target_image": None, "faces": faces}
    people = [
        {"person": person, "picture": picture} for person, picture in zip(plan.people, pictures, strict=True)
    ]
    temporary = folder / f".{plan.name}.{os.getpid()}"
    temporary.write_text(json.dumps({**truth, "people": people}))
    temporary.replace(folder / f"{plan.name}.json")


def _load(folder: Path, name: str) -> Composite:
    truth = json.loads((folder / f"{name}.json").read_text())
    targets = tuple(Target(one["person"], folder / one["picture"]) for one in truth.pop("people"))
    return Composite(name, folder / f"{name}.mp4", truth, targets)


def _write_target(person: str, library: Library, detectors: _Detectors, folder: Path) -> str:
    """Write the target picture of a person, and return its file name."""
    name = f"{person}.png"
    for image in library.target_images(person):
        box = detectors.largest(image)
        if box is not None:
            x1, y1, x2, y2 = box
            more_x, more_y = PICTURE_MARGIN * (x2 - x1), PICTURE_MARGIN * (y2 - y1)
            top, bottom = max(0, int(y1 - more_y)), int(y2 + more_y)
            part = image[top:bottom, max(0, int(x1 - more_x)) : int(x2 + more_x)]
            cv2.imwrite(str(folder / name), cv2.cvtColor(part, cv2.COLOR_RGB2BGR))
            return name
    file = library.picture_file(person)
    raise PublicClipsError(
        f"{person}: the detectors agree about no face in {file.repository}/{file.path}. "
        "Remove the file from the list, or list a clearer one."
    )


def _scene_images(scene: Sequence[Shot], library: Library, detectors: _Detectors) -> Iterator[Image]:
    """Yield the frames of a scene, as long as all its shots last."""
    width = WIDTH // len(scene)
    slots = [_slot_images(shot, width, library, detectors) for shot in scene]
    for parts in zip(*slots, strict=False):
        yield np.hstack(parts)


def _slot_images(shot: Shot, width: int, library: Library, detectors: _Detectors) -> Iterator[Image]:
    """Yield the shot's images with a size of (HEIGHT, width), cut around where the face is at first."""
    window = None
    for image in library.images(shot):
        if window is None:
            window = _window(image, detectors.largest(image), shot.height, width)
        yield _fitted(image[window], width)


def _window(image: Image, face: Array | None, height: float, width: int) -> tuple[slice, slice]:
    """Return the rows and columns to show: `height` face heights, with the face near the middle."""
    if face is None:
        return slice(None), slice(None)
    x1, y1, x2, y2 = (float(side) for side in face)
    rows = min(image.shape[0], round(height * (y2 - y1)))
    columns = min(image.shape[1], round(rows * width / HEIGHT))
    top = min(max(0, round((y1 + y2 - rows) / 2)), image.shape[0] - rows)
    left = min(max(0, round((x1 + x2 - columns) / 2)), image.shape[1] - columns)
    return slice(top, top + rows), slice(left, left + columns)


def _fitted(image: Image, width: int) -> Image:
    """Return the image scaled to fit into (HEIGHT, width), on grey."""
    scale = min(width / image.shape[1], HEIGHT / image.shape[0])
    columns, rows = min(width, round(image.shape[1] * scale)), min(HEIGHT, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.full((HEIGHT, width, 3), GREY, np.uint8)
    top, left = (HEIGHT - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = cv2.resize(image, (columns, rows), interpolation=how)
    return canvas


def _displayed(frame: av.VideoFrame) -> Image:
    return orientation_of(frame).displayed(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))


def _zoomed(image: Image, frames: int) -> Iterator[Image]:
    """Yield a picture that grows by MAX_ZOOM around its middle."""
    image = _at_most(image, 2 * WIDTH)[0]
    rows, columns = image.shape[:2]
    for number in range(frames):
        matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), 0, 1 + MAX_ZOOM * number / frames)
        yield cv2.warpAffine(image, matrix, (columns, rows)).astype(np.uint8, copy=False)


def _frame_faces(
    image: Image, number: int, tracks: Sequence[int], detectors: _Detectors
) -> Iterator[list[Any]]:
    """Yield the faces of a frame, as in the truth: a person in each slot."""
    own, second = detectors.boxes(image)
    edges = np.linspace(0, WIDTH, len(tracks) + 1)
    for track, (left, right) in zip(tracks, pairwise(edges), strict=True):
        own_here, second_here = _inside(own, left, right), _inside(second, left, right)
        box = _agreed(own_here, second_here)
        found = chain(own_here, second_here) if box is None else [box]
        for one in found:
            yield [number, track, "ignore" if box is None else "other", *(round(float(side)) for side in one)]


def _inside(boxes: Array, left: float, right: float) -> Array:
    """Return the boxes whose middle is between two columns."""
    middles = (boxes[:, 0] + boxes[:, 2]) / 2
    return boxes[(middles >= left) & (middles < right)]


def main() -> int:
    try:
        for composite in composites(lambda line: print(line, file=sys.stderr), sys.argv[1:]):
            roles = [role for _, _, role, *_ in composite.truth["faces"]]
            print(
                f"{composite.video}: {len(composite.targets)} people, {composite.truth['frames']} frames, "
                f"{roles.count('other')} faces, {roles.count('ignore')} ignored"
            )
    except PublicClipsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
