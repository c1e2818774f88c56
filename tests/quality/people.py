"""Role rotation: each person of a clip is the target in turn, and the others have to be hidden.

`people.json`, beside score.py, lists the people of a clip. A person is a list of frame ranges (both ends included), for
clips that show one face at a time, or the role that the person has in the clip's own truth.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from defacer.engine.engine import Engine
from defacer.engine.media.reader import read_frames
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from tests.quality.clips import Clip, Truth

MARGIN = 0.4  # of the face's width and height, on each side of a target picture that is cut from a clip
# Clips that might show the same person: such a pair says nothing about strangers.
SAME_PEOPLE = ({"c01", "c05"},)
Face = Sequence[Any]  # frame, track, role, x1, y1, x2, y2
Where = str | Sequence[Sequence[int]]  # a role, or frame ranges


@dataclass(frozen=True, eq=False)
class Person:
    """A person of a clip as the target: the encoded target picture, and the truth with the person's faces as target.

    `shown_in` names the clips that show the person, or might.
    """

    clip: str
    name: str
    shown_in: frozenset[str]
    picture: bytes = field(repr=False)
    truth: Truth = field(repr=False)

    @property
    def label(self) -> str:
        return f"{self.clip} {self.name}"


def given_target(clip: Clip) -> Person | None:
    """Return the target that the clip comes with."""
    if clip.target_picture is None:
        return None
    return Person(clip.name, "target", _shown_in(clip), clip.target_picture.read_bytes(), clip.truth)


def people_of(clip: Clip, folder: Path) -> list[Person]:
    """Return each person of the clip as the target, with a picture from the clip; empty without people.json."""
    return [_person(clip, name, where) for name, where in _listed(clip, folder).items()]


def names_in(clip: Clip, folder: Path) -> dict[tuple[int, int], str]:
    """Return who is seen in each frame and track of the truth, as far as people.json says."""
    listed = _listed(clip, folder)
    return {
        (face[0], face[1]): name
        for face in clip.truth["faces"]
        for name, where in listed.items()
        if _is_of(face, where)
    }


def gallery_of(person: Person, engine: Engine, options: Options) -> Gallery:
    return engine.gallery([Picture(person.name, person.label, person.picture)], options.recognizer)


def _listed(clip: Clip, folder: Path) -> dict[str, Where]:
    path = folder / "people.json"
    listed: dict[str, Where] = json.loads(path.read_text()).get(clip.name, {}) if path.exists() else {}
    return dict(sorted(listed.items()))


def _person(clip: Clip, name: str, where: Where) -> Person:
    shown = _picture_face(clip.truth, where)
    picture, truth = _cut(clip.video, shown), _rotated(clip.truth, where, int(shown[0]))
    return Person(clip.name, name, _shown_in(clip), picture, truth)


def _shown_in(clip: Clip) -> frozenset[str]:
    return frozenset({clip.name}.union(*(pair for pair in SAME_PEOPLE if clip.name in pair)))


def _picture_face(truth: Truth, where: Where) -> Face:
    """Return the face that the target picture is cut from.

    For ranges, the face nearest to the middle of the first range. For a role, its largest face in the first half of the
    clip.
    """
    own = [face for face in truth["faces"] if _is_of(face, where)]
    if isinstance(where, str):
        early = [face for face in own if face[0] < truth["frames"] / 2]
        return max(early, key=lambda face: (face[5] - face[3]) * (face[6] - face[4]))
    middle = sum(where[0]) // 2
    return min(own, key=lambda face: abs(face[0] - middle))


def _rotated(truth: Truth, where: Where, picture_frame: int) -> Truth:
    """Return the truth with the roles of a target; the frame of the picture is not graded."""
    return {**truth, "faces": list(_roles(truth, where, picture_frame))}


def _roles(truth: Truth, where: Where, picture_frame: int) -> Iterator[Face]:
    for face in truth["faces"]:
        frame, track, role, *box = face
        if frame == picture_frame:
            role = "ignore"
        elif role != "ignore":
            role = "target" if _is_of(face, where) else "other"
        yield [frame, track, role, *box]


def _is_of(face: Face, where: Where) -> bool:
    """Return whether the truth's face is the person's."""
    frame, _, role = face[:3]
    if role == "ignore":
        return False
    return role == where if isinstance(where, str) else any(first <= frame <= last for first, last in where)


def _cut(video: Path, face: Face) -> bytes:
    """Return the face with MARGIN around it, as a PNG."""
    number, _, _, x1, y1, x2, y2 = face
    frame = next(frame for n, frame in enumerate(read_frames(str(video))) if n == number)
    image = frame.to_ndarray(format="bgr24")
    more_x, more_y = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    part = image[max(0, int(y1 - more_y)) : int(y2 + more_y), max(0, int(x1 - more_x)) : int(x2 + more_x)]
    done, encoded = cv2.imencode(".png", part)
    if not done:
        raise SystemExit(f"error: the face in frame {number} of {video.name} can't be written as a picture.")
    return encoded.tobytes()
