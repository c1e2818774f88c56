"""Can a hidden face still be recognized? Everyone in the clips is hidden in every mode, and two recognizers judge.

    python -m tests.quality.irreversible [--clips c02,c05] [--every 5] [--modes blur,pixelate,solid,image]

A hidden face is recognized if it is within a recognizer's match threshold of the source at the same place, or of one of
eight other source crops of the same track. Only clear source crops count, as in production: a sliver of a face is as
near to a plain color as to a face. The crops are aligned with the landmarks of the source, which an attacker
does not have. The frame is judged as `conceal` leaves it, because encoding only removes more.

Two figures show what the measure is worth: the share of faces in plain sight that are recognized (without the crop at
the same place), and "chance", the share of hidden faces that are as near to a stranger: a track of another clip, or
one beside it in the same frame. "Most alike" is the largest structural similarity to the source; score.py calls 0.70 a
leak.

Nothing is written. The exit code is 1 if too many faces are recognized.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.models.arrays import Detection, compute_overlaps
from defacer.engine.options import Options, RecognizerName
from defacer.engine.rendering import redact_segment
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.engine.tracking.identity import CLEAR, limits_of
from defacer.engine.tracking.linking import link_faces
from defacer.report.compact_boxes import Box
from defacer.report.faces import Faces
from tests.quality.clips import Clip, load_clips, load_score
from tests.quality.figures import Share, percent, table
from tests.quality.grades import graded_crop
from tests.quality.people import SAME_PEOPLE

MAX_RECOGNISED = 0.001
MIN_POWER = 0.5  # a measure that does not recognize half of the faces in plain sight says nothing
RECOGNIZERS: tuple[RecognizerName, ...] = ("sface", "facenet-casia")
MODES = ("blur", "pixelate", "solid", "image")
VIEWS = 8  # other source crops of a track that a hidden face is compared with
SEARCH_SIDE = 960  # pixels, the long side of the frames for the landmark search
SAME_FACE = 0.3  # overlap of a detection with a face of the truth
# Where landmarks are in a face that the detector does not find: eyes, nose and mouth corners, as shares of the box.
USUAL_LANDMARKS = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)], np.float32)
SOURCE = "not hidden"
Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass
class JudgedFaces:
    """Every judged face: its track, its frame, and its embeddings by recognizer and then by style.

    `is_clear` says whether SFace finds the face clear in the source.
    """

    tracks: list[tuple[str, int]] = field(default_factory=list)  # clip, track of the truth
    frames: list[tuple[str, int]] = field(default_factory=list)
    is_clear: list[bool] = field(default_factory=list)
    embeddings: dict[RecognizerName, dict[str, list[Floats]]] = field(default_factory=dict)
    likeness: dict[str, list[float]] = field(default_factory=dict)

    def add(self, recognizer: RecognizerName, style: str, embeddings: Iterable[Floats]) -> None:
        self.embeddings.setdefault(recognizer, {}).setdefault(style, []).extend(embeddings)


@dataclass(frozen=True)
class Result:
    """What one recognizer makes of the faces of one style; `chance` is None if no track is of a stranger."""

    style: str
    recognizer: str
    recognized: Share
    chance: float | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.irreversible", allow_abbrev=False)
    parser.add_argument("--clips", metavar="c02,c05", help="only these (default: all)")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="only every N-th frame (default: 1)"
    )
    parser.add_argument("--modes", default=",".join(MODES), help=f"some of {','.join(MODES)} (default: all)")
    given = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    unknown = set(given.modes.split(",")) - set(MODES)
    if unknown or given.every < 1:
        parser.error(f"unknown mode {', '.join(sorted(unknown))}" if unknown else "--every must be 1 or more")
    folder = Path(os.environ["DEFACER_EVAL"])
    engine, judged = Engine(), JudgedFaces()
    for clip in load_clips(folder, given.clips):
        faces = link_faces(
            [engine.detect_segment(Segment(str(clip.video)), None, Options())], None, Options()
        )
        judge(clip, faces, judged, engine, load_score(folder), given.every, given.modes.split(","))
        print(f"{clip.name} done", file=sys.stderr)
    if not judged.tracks:
        print(
            "error: no face to judge in these frames: choose other clips or a smaller --every.",
            file=sys.stderr,
        )
        return 2
    results = compare(judged)
    print(irreversible_table(results, judged))
    problems = irreversible_problems(results)
    for problem in problems:
        print(f"not held: {problem}")
    return 1 if problems else 0


def judge(
    clip: Clip,
    faces: Faces,
    judged: JudgedFaces,
    engine: Engine,
    score: ModuleType,
    every: int,
    modes: Sequence[str] = MODES,
) -> None:
    """Hide the tracks of `faces` in every `every`-th frame of the clip, and add the graded faces to `judged`.

    The masks are those of `redact_segment`, which runs with a `redact_boxes` function that tries all modes.
    """
    numbers, styles = count(), _styles(modes)

    def redact_in_all_modes(frame: av.VideoFrame, boxes: Sequence[Box], _: Style, *more: Any) -> None:
        number = next(numbers)
        if number % every == 0:
            hidden = _hidden(frame, boxes, styles, more)
            _judge_frame(clip, number, hidden, judged, engine, score)

    tries_all_modes = patch.object(redact_segment, "redact_boxes", redact_in_all_modes)
    with tries_all_modes, tempfile.TemporaryDirectory(prefix="defacer-quality-") as folder:
        redact_segment.redact_segment(
            Segment(str(clip.video)), faces, str(Path(folder) / "segment.nut"), Options()
        )


def _judge_frame(
    clip: Clip,
    number: int,
    images: Iterator[tuple[str, Image]],
    judged: JudgedFaces,
    engine: Engine,
    score: ModuleType,
) -> None:
    """Add the graded faces of a frame; `images` are the source, and the frame hidden in each style."""
    recognizers = {name: engine.recognizer(name) for name in RECOGNIZERS}
    source, image = next(images)
    graded = list(_graded(clip, number, image, score))
    if not graded:
        return
    judged.tracks += [(clip.name, track) for track, _, _ in graded]
    judged.frames += [(clip.name, number)] * len(graded)
    faces = _with_landmarks(image, [box for _, box, _ in graded], engine)
    for style, shown in chain([(source, image)], images):
        for name, recognizer in recognizers.items():
            embeddings, clearness = recognizer.embed([recognizer.crop(shown, face) for face in faces])
            judged.add(name, style, embeddings)
            if (name, style) == ("sface", SOURCE):
                judged.is_clear += [bool(value >= CLEAR) for value in clearness]
        if style != SOURCE:
            gray = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)
            judged.likeness.setdefault(style, []).extend(
                score.ssim(before, score.crop(gray, box)) for _, box, before in graded
            )


def _styles(modes: Sequence[str]) -> dict[str, Style]:
    styles = {mode: Style(mode) for mode in modes if mode != "image"}
    if "image" in modes:
        opaque = np.full((200, 160, 4), 255, np.uint8)
        opaque[..., :3] = (0, 90, 160)
        cv2.circle(opaque, (80, 90), 50, (240, 220, 60, 255), -1)
        clear = opaque.copy()
        clear[..., 3] = np.linspace(0, 255, 200).astype(np.uint8)[:, None]
        styles |= {"image, opaque": Style("image", picture=opaque)}
        styles |= {"image, half transparent": Style("image", picture=clear)}
    return styles


def _graded(
    clip: Clip, number: int, image: Image, score: ModuleType
) -> Iterator[tuple[int, list[float], Image]]:
    """Yield track, box and gray crop of each face in the frame that score.py would grade."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    for frame, track, role, *box in clip.truth["faces"]:
        if frame != number or role == "ignore":
            continue
        crop = graded_crop(gray, box, score)
        if crop is not None:
            yield track, box, crop


def _with_landmarks(image: Image, boxes: Sequence[Sequence[float]], engine: Engine) -> list[Detection]:
    """Return each box of the truth with the landmarks of the face that the detector finds there."""
    scale = min(1.0, SEARCH_SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    found = engine.detector(Options().detector).detect([small])[0]
    found_boxes = np.array([face.box / scale for face in found], np.float32).reshape(-1, 4)
    faces = []
    for box in np.array(boxes, np.float32):
        shares = compute_overlaps(box, found_boxes)
        if len(shares) and shares.max() >= SAME_FACE:
            landmarks = found[int(shares.argmax())].landmarks / scale
        else:
            landmarks = box[:2] + USUAL_LANDMARKS * (box[2:] - box[:2])
        faces.append(Detection(box, 1.0, landmarks.astype(np.float32)))
    return faces


def _hidden(
    frame: av.VideoFrame, boxes: Sequence[Box], styles: dict[str, Style], more: Sequence[Any]
) -> Iterator[tuple[str, Image]]:
    """Yield the frame, RGB, as it is and with these boxes hidden in each style."""
    yield SOURCE, frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    frame.make_writable()
    planes = [bytes(plane) for plane in frame.planes]
    for name, style in styles.items():
        for plane, original in zip(frame.planes, planes, strict=True):
            plane.update(original)
        redact_boxes(frame, boxes, style, *more)
        yield name, frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def compare(judged: JudgedFaces) -> list[Result]:
    """Return a result for each recognizer and style, the faces in plain sight first."""
    tracks = sorted(set(judged.tracks))
    is_clear = np.array(judged.is_clear)
    members = {
        track: [n for n, of in enumerate(judged.tracks) if of == track and is_clear[n]] for track in tracks
    }
    views = {track: _spread(members[track]) for track in tracks}
    strangers = _strangers(judged, tracks)

    def result(
        recognizer: RecognizerName, style: str, is_near: Callable[[Floats], NDArray[np.bool_]]
    ) -> Result:
        near = is_near(np.stack(judged.embeddings[recognizer][style])) & is_clear
        recognized = 0
        for n, track in enumerate(judged.tracks):
            others = [view for view in views[track] if view != n]
            recognized += bool(near[n, others].any() or (style != SOURCE and near[n, n]))
        to_tracks = np.stack([near[:, views[track]].any(axis=1) for track in tracks], axis=1)
        chance = float(to_tracks[strangers].mean()) if strangers.any() else None
        return Result(style, recognizer, Share(recognized, len(judged.tracks)), chance)

    results = []
    for recognizer, by_style in judged.embeddings.items():
        source = np.stack(by_style[SOURCE])
        # Of unit vectors: |a - b|^2 = 2 - 2 a.b
        most = limits_of(Options(recognizer=recognizer)).match
        is_near = lambda found, source=source, most=most: (  # noqa: E731
            np.sqrt(np.maximum(0, 2 - 2 * found @ source.T)) <= most
        )
        results += [result(recognizer, style, is_near) for style in by_style]
    return results


def _strangers(judged: JudgedFaces, tracks: Sequence[tuple[str, int]]) -> NDArray[np.bool_]:
    """Return for each judged face (rows) which tracks (columns) surely show another person."""
    beside: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for track, frame in zip(judged.tracks, judged.frames, strict=True):
        beside.setdefault(frame, set()).add(track)
    return np.array(
        [
            [_is_stranger(track, other) or (other != track and other in beside[frame]) for other in tracks]
            for track, frame in zip(judged.tracks, judged.frames, strict=True)
        ]
    )


def _is_stranger(track: tuple[str, int], other: tuple[str, int]) -> bool:
    return track[0] != other[0] and {track[0], other[0]} not in SAME_PEOPLE


def _spread(members: Sequence[int]) -> list[int]:
    """Return up to VIEWS of these, evenly spaced from the first to the last."""
    places = np.linspace(0, len(members) - 1, min(VIEWS, len(members)))
    return [members[round(float(place))] for place in places]


def irreversible_table(results: Sequence[Result], judged: JudgedFaces) -> str:
    styles = list(dict.fromkeys(result.style for result in results))
    lines = []
    for style in styles:
        likeness = judged.likeness.get(style)
        by_recognizer = [result for result in results if result.style == style]
        cells = [f"{result.recognized}, chance {_chance(result)}" for result in by_recognizer]
        lines.append([style, *cells, f"{max(likeness):.2f}" if likeness else ""])
    head = ["everyone hidden by", *(f"recognized by {name}" for name in judged.embeddings), "most alike"]
    return table(head, lines)


def _chance(result: Result) -> str:
    return "-" if result.chance is None else percent(result.chance)


def irreversible_problems(results: Sequence[Result]) -> list[str]:
    """Return the bounds that are not held, in words."""
    problems = []
    for result in results:
        if result.style != SOURCE and result.recognized.value > MAX_RECOGNISED:
            problems.append(
                f"{result.style}: {result.recognizer} recognizes {result.recognized}, at most {percent(MAX_RECOGNISED)}"
            )
        if result.style == SOURCE and result.recognized.value < MIN_POWER:
            problems.append(
                f"{result.recognizer} recognizes only {result.recognized} of the faces in plain sight"
            )
    return problems


if __name__ == "__main__":
    sys.exit(main())
