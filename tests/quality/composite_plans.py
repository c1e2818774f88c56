"""Plans of the composites: the parts of public files that each one shows, without any pixel.

`composites.py` states the kinds of composites.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import av
import cv2
import numpy as np

from defacer.engine.errors import PictureError
from defacer.engine.media.orientation import orientation_of
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.media.reader import open_video, read_frames
from defacer.engine.models.arrays import Image
from tests.quality.public_clips import PublicClipsError, PublicFile

RATE = 25
CUTS_PEOPLE, PICTURES_PEOPLE, PAIRS_PEOPLE = 24, 26, 24  # in one composite
SHOT_FRAMES = (25, 50, 36, 75, 30, 44)  # 1 to 3 s
SHORT_FRAMES, PICTURE_FRAMES, PAIR_FRAMES = 8, 16, 40
FACE_HEIGHTS = (2.4, 3.4, 4.6)  # height of the part of a frame that is shown, in face heights
PICTURE_SHARE = 0.1  # of a clip's frames: kept for the target picture, if it is the person's only file
MAX_PICTURE_SIDE = 1280  # pixels
MAX_ZOOM = 0.1


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
        try:
            return decode_picture(self.paths[file].read_bytes(), file.path)
        except PictureError as error:
            raise PublicClipsError(f"{file.repository}: {error} Or remove it from the list.") from error


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


def at_most(image: Image, side: int) -> tuple[Image, float]:
    """Return the image with a longer side of at most `side`, and its scale."""
    scale = min(1.0, side / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale


def _displayed(frame: av.VideoFrame) -> Image:
    return orientation_of(frame).to_displayed(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))


def _zoomed(image: Image, frames: int) -> Iterator[Image]:
    """Yield a picture that grows by MAX_ZOOM around its middle."""
    image = at_most(image, MAX_PICTURE_SIDE)[0]
    rows, columns = image.shape[:2]
    for number in range(frames):
        matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), 0, 1 + MAX_ZOOM * number / frames)
        yield cv2.warpAffine(image, matrix, (columns, rows)).astype(np.uint8, copy=False)
