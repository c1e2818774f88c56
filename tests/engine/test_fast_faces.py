"""A drawn box follows a fast face, and does not change over to another face that has no track."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from defacer.engine.corrections import follow_box
from defacer.engine.corrections.span_search import SampledFrame, TimeSpan, search_closely
from defacer.engine.engine import Engine
from defacer.engine.verification.visible_faces import covered_share
from defacer.report.compact_boxes import Box, BoxAt
from defacer_emulator.demo.demo_clip import make_demo_clip
from tests.clips import frame_times
from tests.demo_boxes import compute_demo_boxes
from tests.engine.scene_files import faces_in
from tests.engine.scenes import HEIGHT, WIDTH, Shown
from tests.engine.test_follow_box import FRAMES, HIDDEN_SHARE, Scene, Write, around, scene

__all__ = ["scene"]  # fixture


def at(x: float, y: float = 170, size: float = 88) -> Box:
    """Return the box of a face around a place."""
    return (x - size * 0.375, y - size / 2, x + size * 0.375, y + size / 2)


def covers(video: Scene, box: Box, place: Box) -> bool:
    return covered_share(box, [], WIDTH, HEIGHT, [place]) >= HIDDEN_SHARE


def follow_first(video: Scene, drawn: int) -> tuple[list[int], list[int]]:
    """Draw a box around the astronaut in this frame. Return the frames that the mask misses, and those to check."""
    boxes = {
        number: face.box
        for number, frame in enumerate(video.frames)
        for face in frame
        if face.person == "astronaut"
    }
    mask = video.follow({drawn: around(boxes[drawn])})
    places = {number: mask.detections.box_at(number * video.unit) for number in boxes}
    return [n for n, box in boxes.items() if not covers(video, box, places[n])], video.unconfirmed(mask)


@pytest.mark.parametrize("person", ["astronaut", pytest.param("admiral", marks=pytest.mark.slow)])
def test_one_box_covers_a_face_that_moves_half_its_size_in_a_frame(
    person: str, engine: Engine, tmp_path: Path
) -> None:
    """In frame 15 of the demo clip in one second, the faces pass each other. They turn, and change their direction."""
    clip, size = tmp_path / "clip.mp4", (WIDTH, HEIGHT)
    make_demo_clip(clip, 1.0, size)
    faces = [face for face in compute_demo_boxes(1.0, size) if face.name == person]
    boxes: list[Box] = [(face.x1, face.y1, face.x2, face.y2) for face in faces]
    times = frame_times(clip)
    span = TimeSpan(str(clip), replace(faces_in(clip), width=WIDTH, height=HEIGHT), times[0], times[-1])
    mask = engine.follow_box(span, [BoxAt(times[15], around(boxes[15]))])
    missed = [
        face.frame
        for face, box, pts in zip(faces, boxes, times, strict=True)
        if face.visible
        and covered_share(box, [], WIDTH, HEIGHT, [mask.detections.box_at(pts)]) < HIDDEN_SHARE
    ]
    assert missed == []


def moving(places: Sequence[tuple[float, float, float]]) -> list[list[Shown]]:
    return [[Shown("astronaut", at(*place))] for place in places]


FAST: dict[str, list[tuple[float, float, float]]] = {
    "right, then left": [(120 + 40 * abs((n + 9) % 20 - 10), 170, 88) for n in range(FRAMES)],
    "down and right": [(80 + 8 * n, 70 + 30 * abs((n + 6) % 12 - 6), 80) for n in range(FRAMES)],
    "starts suddenly": [(90 + 45 * min(max(n - 20, 0), 10), 170, 88) for n in range(FRAMES)],
    "comes near": [(320, 180, 60 * 1.06 ** min(n, 24)) for n in range(FRAMES)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_one_box_covers_a_fast_face_on_its_way(name: str, scene: Write) -> None:
    missed, unconfirmed = follow_first(scene(moving(FAST[name])), 5)
    assert (missed, unconfirmed) == ([], [])


@pytest.mark.parametrize("is_front", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_mask_stays_on_its_face_when_two_people_cross(is_front: bool, scene: Write) -> None:
    """Neither of them has a track, so only their looks tell them apart."""
    frames = []
    for number in range(FRAMES):
        followed = Shown("astronaut", at(min(100 + 16 * number, 540)))
        other = Shown("admiral", at(max(540 - 16 * number, 100), 180, 94))
        frames.append([other, followed] if is_front else [followed, other])
    missed, _ = follow_first(scene(frames), 3)
    assert missed == []


def test_mask_does_not_follow_another_face_that_takes_the_place(scene: Write) -> None:
    """The followed face leaves the picture for good where another one appears and walks away."""
    frames = [
        [
            *([Shown("astronaut", at(200))] if number < 20 else []),
            *([Shown("admiral", at(200 + 9 * max(number - 24, 0)))] if number >= 22 else []),
        ]
        for number in range(FRAMES)
    ]
    video = scene(frames)
    mask = video.follow({5: around(at(200))})
    assert set(range(22, FRAMES)) <= set(video.unconfirmed(mask))
    assert covers(video, at(200), mask.detections.box_at(45 * video.unit))
    assert not covers(video, at(200 + 9 * 21), mask.detections.box_at(45 * video.unit))


def test_close_search_reads_no_more_frames_than_allowed(
    scene: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near another face, each link is doubtful. The crops of all frames of a long video would not fit into memory."""
    read: list[int] = []

    def search(*arguments: Any) -> Generator[SampledFrame]:
        for sample in search_closely(*arguments):
            read.append(sample.pts)
            yield sample

    monkeypatch.setattr(follow_box, "MAX_CLOSE_FRAMES", 12)
    monkeypatch.setattr(follow_box, "search_closely", search)
    frames = [[Shown("astronaut", at(200)), Shown("admiral", at(300))] for _ in range(FRAMES)]
    video = scene(frames)
    mask = video.follow({5: around(at(200))})
    assert len(read) == 12
    assert len(video.unconfirmed(mask)) > FRAMES / 2
