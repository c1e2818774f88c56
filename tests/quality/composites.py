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
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from defacer.engine.models import weights
from defacer.engine.models.arrays import Array, Image, compute_overlaps
from defacer.engine.models.detector import make_detector
from tests.quality.composite_plans import RATE, Library, Plan, Shot, at_most, plans
from tests.quality.public_clips import (
    PublicClipsError,
    PublicFile,
    default_folder,
    fetch,
    public_files,
    write_whole,
)

VERSION = 1  # part of the folder's name: raise it when the composites change
SIZE = WIDTH, HEIGHT = 640, 360
GREY = 96
PICTURE_MARGIN = 0.4  # of the face's width and height, on each side of a target picture
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
    listed = hashlib.sha256(repr([(file.person, file.sha256) for file in files]).encode()).hexdigest()[:8]
    target = folder / f"composites-{VERSION}-{listed}"
    for plan in plans(library):
        if not names or plan.name in names:
            if not (target / f"{plan.name}.json").exists():
                progress(f"building {plan.name}: {len(plan.people)} people, {len(plan.scenes)} scenes")
                _build(plan, library, target)
            yield _load(target, plan.name)


class _Detectors:
    """The engine's own detector, and YuNet."""

    def __init__(self) -> None:
        self._own = make_detector("centerface")
        self._second = cv2.FaceDetectorYN.create(str(weights.yunet()), "", SIZE, SECOND_DETECTOR_SCORE)

    def boxes(self, image: Image) -> tuple[Array, Array]:
        """Return the boxes (N, 4) that each detector finds in an RGB image, best first."""
        own = [face.box for face in self._own.detect([image])[0] if face.score >= self._own.confident_score]
        self._second.setInputSize(image.shape[1::-1])
        _, rows = self._second.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        second = np.zeros((0, 4), np.float32) if rows is None else rows[:, :4].astype(np.float32)
        second[:, 2:] += second[:, :2]
        return np.array(own, np.float32).reshape(-1, 4), second

    def largest(self, image: Image) -> Array | None:
        """Return the box of the largest face, or None if the detectors disagree about it."""
        small, scale = at_most(image, WIDTH)
        box = _agreed(*(_largest(boxes) for boxes in self.boxes(small)))
        return None if box is None else (box / scale).astype(np.float32)


def _largest(boxes: Array) -> Array:
    """Return the largest of the boxes (N, 4), as (1, 4), or none."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-areas)[:1]]


def _agreed(own: Array, second: Array) -> Array | None:
    """Return the box of the face if each detector found one, in the same place."""
    if len(own) != 1 or len(second) != 1 or compute_overlaps(own[0], second)[0] < SAME_FACE:
        return None
    box: Array = own[0]
    return box


def _build(plan: Plan, library: Library, folder: Path) -> None:
    """Write NAME.mp4, a picture of each person, and NAME.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    detectors = _Detectors()
    for person in plan.people:
        write_whole(folder / f"{person}.png", _target_picture(person, library, detectors))
    temporary = folder / f".{plan.name}.{os.getpid()}.mp4"
    truth = _write_video(temporary, plan, library, detectors)
    temporary.replace(folder / f"{plan.name}.mp4")
    people = [{"person": person, "picture": f"{person}.png"} for person in plan.people]
    write_whole(folder / f"{plan.name}.json", json.dumps({**truth, "people": people}).encode())


def _write_video(path: Path, plan: Plan, library: Library, detectors: _Detectors) -> Truth:
    """Write the video, and return its truth."""
    track_of = {person: track for track, person in enumerate(plan.people)}
    faces: list[list[Any]] = []
    count = 0
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for scene in plan.scenes:
            tracks = [track_of[shot.person] for shot in scene]
            for image in _scene_images(scene, library, detectors):
                faces += _frame_faces(image, count, tracks, detectors)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = count
                out.mux(stream.encode(frame))
                count += 1
        out.mux(stream.encode(None))
    return {"clip": plan.name, "frames": count, "target_image": None, "faces": faces}


def _load(folder: Path, name: str) -> Composite:
    truth = json.loads((folder / f"{name}.json").read_text())
    targets = tuple(Target(one["person"], folder / one["picture"]) for one in truth.pop("people"))
    return Composite(name, folder / f"{name}.mp4", truth, targets)


def _target_picture(person: str, library: Library, detectors: _Detectors) -> bytes:
    """Return the face of a person with PICTURE_MARGIN around it, as a PNG."""
    for image in library.target_images(person):
        box = detectors.largest(image)
        if box is None:
            continue
        x1, y1, x2, y2 = (float(side) for side in box)
        more_x, more_y = PICTURE_MARGIN * (x2 - x1), PICTURE_MARGIN * (y2 - y1)
        top, left = max(0, int(y1 - more_y)), max(0, int(x1 - more_x))
        part = image[top : int(y2 + more_y), left : int(x2 + more_x)]
        return cv2.imencode(".png", cv2.cvtColor(part, cv2.COLOR_RGB2BGR))[1].tobytes()
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
    """Return the image scaled to fit into (HEIGHT, width), on gray."""
    scale = min(width / image.shape[1], HEIGHT / image.shape[0])
    columns, rows = min(width, round(image.shape[1] * scale)), min(HEIGHT, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.full((HEIGHT, width, 3), GREY, np.uint8)
    top, left = (HEIGHT - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = cv2.resize(image, (columns, rows), interpolation=how)
    return canvas


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
