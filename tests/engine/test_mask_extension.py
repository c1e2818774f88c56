"""Tests of mask extension: scenes with known boxes of faces that are visible but not detected."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options
from defacer.engine.rendering import mask_extension as mask_extension
from defacer.engine.rendering.mask_extension import (
    MAX_AFTER_SECONDS,
    MAX_BEFORE_SECONDS,
    MAX_LOST_SECONDS,
    MaskExtension,
)
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.face_report import read_faces_between
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Reason, TrackRecord
from tests.clips import Picture, astronaut, frame_times

WIDTH, HEIGHT, RATE = 480, 270, 25
FACE_WIDTH, FACE_HEIGHT = 84, 112
MIDDLE = (198, 79)
SLIVER = 0.25  # of the face
FRAMES = 100
FACE_UNTIL = 30  # the frame of the last detection
UPRIGHT = Orientation()
LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)
Place = tuple[float, float]  # the upper left corner of the face's box
Movement = Callable[[int], Place | None]


@pytest.fixture(scope="module")
def face() -> Picture:
    picture = astronaut()[40:190, 88:200]
    return cv2.resize(picture, (FACE_WIDTH, FACE_HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8)


def background(seed: int = 7, size: tuple[int, int] = (WIDTH + 400, HEIGHT)) -> Picture:
    """Return a wall with furniture: blurred noise and rectangles."""
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8), (0, 0), 3)
    for _ in range(30):
        x, y = int(random.integers(size[0])), int(random.integers(size[1]))
        color = tuple(int(value) for value in random.integers(60, 200, 3))
        cv2.rectangle(noise, (x, y), (x + 50, y + 35), color, -1)
    return np.asarray(noise, np.uint8)


def paste(picture: Picture, face: Picture, place: Place) -> None:
    """Put the face's ellipse into the picture, as far as it is inside."""
    mask = np.zeros((FACE_HEIGHT, FACE_WIDTH), np.uint8)
    cv2.ellipse(
        mask, (FACE_WIDTH // 2, FACE_HEIGHT // 2), (FACE_WIDTH // 2, FACE_HEIGHT // 2), 0, 0, 360, 255, -1
    )
    shift = np.array([[1, 0, place[0]], [0, 1, place[1]]], np.float32)
    size = (picture.shape[1], picture.shape[0])
    inside = cv2.warpAffine(mask, shift, size) > 127
    picture[inside] = cv2.warpAffine(face, shift, size)[inside]


def box_at(place: Place) -> Box:
    return (place[0], place[1], place[0] + FACE_WIDTH, place[1] + FACE_HEIGHT)


def leaving(direction: tuple[int, int], stays_until: int = 75) -> Movement:
    """Return a face that is in the middle, moves to the edge, stays there as a sliver, and leaves."""
    goal = (
        {LEFT: -FACE_WIDTH * (1 - SLIVER), RIGHT: WIDTH - FACE_WIDTH * SLIVER}.get(direction, MIDDLE[0]),
        {UP: -FACE_HEIGHT * (1 - SLIVER), DOWN: HEIGHT - FACE_HEIGHT * SLIVER}.get(direction, MIDDLE[1]),
    )

    def place(index: int) -> Place | None:
        share = min(max((index - 10) / 30, 0), 1)
        x, y = (a + share * (b - a) for a, b in zip(MIDDLE, goal, strict=True))
        away = 8 * max(0, index - stays_until)
        x, y = x + direction[0] * away, y + direction[1] * away
        return (x, y) if -FACE_WIDTH < x < WIDTH and -FACE_HEIGHT < y < HEIGHT else None

    return place


def scene(face: Picture, place: Movement, pan: float = 0, frames: int = FRAMES) -> list[Picture]:
    wall = background()
    pictures = []
    for index in range(frames):
        left = 100 + round(pan * index)
        picture = wall[:, left : left + WIDTH].copy()
        where = place(index)
        if where is not None:
            paste(picture, face, where)
        pictures.append(picture)
    return pictures


def as_frames(pictures: Sequence[Picture], pixel_format: str = "yuv420p") -> Iterator[av.VideoFrame]:
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
            format=pixel_format
        )
        frame.pts, frame.time_base = index, Fraction(1, RATE)
        yield frame


def track(number: int, place: Movement, times: Sequence[int], decision: Decision = "hide") -> TrackRecord:
    detections = CompactBoxes(
        (index, box_at(where)) for index in times if (where := place(index)) is not None
    )
    return TrackRecord(
        number,
        detections[0].pts,
        detections[-1].pts,
        decision,
        None,
        Reason.NO_MATCH,
        None,
        None,
        None,
        detections,
    )


def faces_of(
    *tracks: TrackRecord, shots: tuple[int, ...] = (), size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Faces:
    return Faces("", None, 0.7, *size, f"1/{RATE}", FRAMES, 9, cuts=shots, tracks=tracks)


def extended_boxes(
    pictures: Sequence[Picture], faces: Faces, orientation: Orientation = UPRIGHT, form: str = "yuv420p"
) -> dict[int, list[Box]]:
    found = MaskExtension(faces, orientation).extend_masks(as_frames(pictures, form))
    return {frame.pts or 0: boxes for frame, boxes in found if boxes}


def covers(box: Box, face_box: Box) -> bool:
    """Return whether the box covers the visible part of the face, except for a few pixels."""
    x1, y1, x2, y2 = face_box
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, WIDTH), min(y2, HEIGHT)
    return box[0] <= x1 + 4 and box[1] <= y1 + 4 and box[2] >= x2 - 4 and box[3] >= y2 - 4


@pytest.mark.parametrize("pan", [0, 1])
@pytest.mark.parametrize("direction", [LEFT, RIGHT, UP, DOWN])
def test_sliver_at_the_edge_is_masked_until_it_leaves(
    face: Picture, direction: tuple[int, int], pan: float
) -> None:
    place = leaving(direction)
    faces = faces_of(track(0, place, range(0, FACE_UNTIL + 1, 5)))
    boxes = extended_boxes(scene(face, place, pan), faces)
    for index in range(FACE_UNTIL + 1, 76):
        where = place(index)
        assert where is not None
        assert any(covers(box, box_at(where)) for box in boxes[index])
    assert max(boxes) <= 79 + MAX_LOST_SECONDS * RATE


def test_sliver_that_is_not_detected_is_masked_in_the_result(face: Picture, tmp_path: Path) -> None:
    """The face leaves at the right edge, and its last quarter stays there for more than a second."""
    place = leaving(RIGHT)
    faces = faces_of(track(0, place, range(0, FACE_UNTIL + 1, 5)))
    for index, (before, after) in enumerate(zip(*redacted(tmp_path, scene(face, place), faces), strict=True)):
        if 20 <= index <= 75:
            where = place(index)
            assert where is not None
            x1, y1, x2, y2 = (round(side) for side in box_at(where))
            shown = np.s_[y1 + 15 : y2 - 15, x1 + 4 : min(x2, WIDTH)]
            assert likeness(before[shown], after[shown]) < 0.7, index
        if index >= 75 + 3 + 5 + 2:
            assert cv2.PSNR(before, after) > 35


def test_mask_of_a_face_that_left_quickly_is_not_extended(face: Picture) -> None:
    place = leaving(RIGHT, stays_until=40)
    boxes = extended_boxes(scene(face, place), faces_of(track(0, place, range(0, 41, 5))))
    assert max(boxes) <= 43 + MAX_LOST_SECONDS * RATE


def test_mask_of_an_undetected_face_is_extended_for_a_limited_time(face: Picture) -> None:
    pictures = scene(face, lambda index: MIDDLE, frames=150)
    boxes = extended_boxes(pictures, faces_of(track(0, lambda index: MIDDLE, range(0, 21, 5))))
    assert sorted(boxes) == list(range(21, 20 + round(MAX_AFTER_SECONDS * RATE) + 1))
    assert all(covers(box[0], box_at(MIDDLE)) for box in boxes.values())


def test_mask_ends_when_a_board_covers_the_face(face: Picture) -> None:
    """A board moves over the face from frame 35 on, and covers it at 50. The mask does not follow the board."""
    pictures = scene(face, lambda index: MIDDLE)
    board = background(11, (200, HEIGHT))
    for index in range(35, FRAMES):
        right = min((index - 35) * 19, 340)
        shown = min(right, 200)
        if shown:
            pictures[index][:, right - shown : right] = board[:, 200 - shown :]
    boxes = extended_boxes(pictures, faces_of(track(0, lambda index: MIDDLE, range(0, FACE_UNTIL + 1, 5))))
    assert max(boxes) <= 50 + MAX_LOST_SECONDS * RATE
    assert all(covers(found[0], box_at(MIDDLE)) for found in boxes.values())


def test_mask_ends_when_the_head_has_turned_away(face: Picture) -> None:
    """The face moves around the head, and hair follows. At frame 60 the face is not visible."""
    hair = cv2.resize(background(5, (90, 60)), (2 * FACE_WIDTH, FACE_HEIGHT))
    around = np.concatenate([hair, face], axis=1)

    def turned(index: int) -> Picture:
        first = round(2 * FACE_WIDTH - min(max(index - 30, 0) / 30, 1) * FACE_WIDTH)
        return around[:, first : first + FACE_WIDTH]

    wall = background()[:, :WIDTH]
    pictures = [wall.copy() for _ in range(FRAMES)]
    for index, picture in enumerate(pictures):
        paste(picture, turned(index), MIDDLE)
    boxes = extended_boxes(pictures, faces_of(track(0, lambda index: MIDDLE, range(0, FACE_UNTIL + 1, 5))))
    assert set(range(31, 50)) <= set(boxes)
    assert max(boxes) <= 60 + 2 * MAX_LOST_SECONDS * RATE


def test_mask_ends_at_a_cut(face: Picture) -> None:
    pictures = scene(face, lambda index: MIDDLE)
    faces = faces_of(track(0, lambda index: MIDDLE, range(20, 41, 5)), shots=(15, 60))
    assert sorted(extended_boxes(pictures, faces)) == [*range(15, 20), *range(41, 60)]


def test_mask_is_extended_through_a_flash_and_a_damaged_frame(face: Picture) -> None:
    place = leaving(RIGHT)
    pictures = scene(face, place)
    pictures[45][:], pictures[55][:] = 255, 0
    boxes = extended_boxes(pictures, faces_of(track(0, place, range(0, FACE_UNTIL + 1, 5))))
    assert set(range(31, 76)) <= set(boxes)


def test_kept_face_in_the_same_place_ends_the_mask(face: Picture) -> None:
    hidden = track(0, lambda index: MIDDLE, range(0, 21, 5))
    kept = track(1, lambda index: (MIDDLE[0] + 10, MIDDLE[1]), range(40, 91, 5), decision="keep")
    boxes = extended_boxes(scene(face, lambda index: MIDDLE), faces_of(hidden, kept))
    assert sorted(boxes) == list(range(21, 40))


def test_kept_face_beside_the_mask_does_not_end_it(face: Picture) -> None:
    hidden = track(0, lambda index: MIDDLE, range(0, 21, 5))
    kept = track(1, lambda index: (MIDDLE[0] + FACE_WIDTH, MIDDLE[1]), range(40, 91, 5), decision="keep")
    boxes = extended_boxes(scene(face, lambda index: MIDDLE), faces_of(hidden, kept))
    assert sorted(boxes) == list(range(21, FRAMES))


def test_kept_face_beside_an_extended_mask_stays_visible(face: Picture, tmp_path: Path) -> None:
    """A mask is larger than its box, and would cover an eye of the kept face."""
    beside = (MIDDLE[0] + FACE_WIDTH + 6, MIDDLE[1])
    pictures = scene(face, lambda index: MIDDLE, frames=60)
    for picture in pictures:
        paste(picture, face, beside)
    hidden = track(0, lambda index: MIDDLE, range(0, 21, 5))
    kept = track(1, lambda index: beside, range(0, 60, 5), decision="keep")
    before, after = redacted(tmp_path, pictures, faces_of(hidden, kept))
    x1, y1, _, y2 = (round(side) for side in box_at(beside))
    a1, b1, a2, b2 = (round(side) for side in box_at(MIDDLE))
    for index in range(40, 55):
        eye = np.s_[y1:y2, x1 : x1 + FACE_WIDTH // 2]
        assert cv2.PSNR(before[index][eye], after[index][eye]) > 35
        face_part = np.s_[b1 + 15 : b2 - 15, a1 + 4 : a2 - 4]
        assert likeness(before[index][face_part], after[index][face_part]) < 0.7


def test_mask_of_a_face_kept_by_a_re_render_is_not_extended(face: Picture) -> None:
    place = leaving(RIGHT)
    faces = faces_of(track(0, place, range(0, FACE_UNTIL + 1, 5)))
    pictures = scene(face, place)
    assert extended_boxes(pictures, faces)
    assert not extended_boxes(pictures, replace(faces, tracks=(replace(faces.tracks[0], decision="keep"),)))


@pytest.mark.parametrize("direction", [LEFT, RIGHT, UP, DOWN])
def test_mask_of_an_entering_face_is_extended_before_its_first_detection(
    face: Picture, direction: tuple[int, int]
) -> None:
    """The scene of the leaving face runs backwards."""

    def place(index: int) -> Place | None:
        return leaving(direction)(FRAMES - 1 - index)

    first = FRAMES - 1 - FACE_UNTIL
    boxes = extended_boxes(scene(face, place), faces_of(track(0, place, range(first, FRAMES, 5))))
    for index in range(first - round(MAX_BEFORE_SECONDS * RATE), first):
        where = place(index)
        assert where is not None
        assert any(covers(box, box_at(where)) for box in boxes[index])
    assert min(boxes) == first - MAX_BEFORE_SECONDS * RATE


def test_look_ahead_buffer_is_bounded(face: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = scene(face, lambda index: MIDDLE)
    frames = list(as_frames(pictures))
    bytes_of_ten = 10 * sum(plane.buffer_size for plane in frames[0].planes)
    monkeypatch.setattr(mask_extension, "MAX_BUFFERED_BYTES", bytes_of_ten)
    read = 0

    def counted() -> Iterator[av.VideoFrame]:
        nonlocal read
        for frame in frames:
            read += 1
            yield frame

    faces = faces_of(track(0, lambda index: MIDDLE, range(60, 91, 5)))
    found: list[Any] = []
    for frame, boxes in MaskExtension(faces, Orientation()).extend_masks(counted()):
        assert read - len(found) <= 11
        found.append(frame.pts)
        assert bool(boxes) == (50 <= (frame.pts or 0) < 60 or (frame.pts or 0) > 90)
    assert found == list(range(FRAMES))


@pytest.mark.parametrize(
    "orientation", [Orientation(0, 1, -1, 0), Orientation(-1, 0, 0, 1), Orientation(0, 1, 1, 0)]
)
def test_rotated_video_has_the_same_masks(face: Picture, orientation: Orientation) -> None:
    place = leaving(DOWN)
    faces = faces_of(track(0, place, range(0, FACE_UNTIL + 1, 5)))
    upright = scene(face, place)
    turned = extended_boxes([orientation.to_stored_image(picture) for picture in upright], faces, orientation)
    require_near(extended_boxes(upright, faces), turned)


@pytest.mark.parametrize("form", ["yuv420p10le", "yuv444p", "yuvj420p", "yuv422p10le", "gray"])
def test_other_pixel_formats_have_the_same_masks(face: Picture, form: str) -> None:
    place = leaving(DOWN)
    faces = faces_of(track(0, place, range(0, FACE_UNTIL + 1, 5)))
    require_near(
        extended_boxes(scene(face, place), faces), extended_boxes(scene(face, place), faces, form=form)
    )


def test_faces_in_odd_and_tiny_frames_are_followed_without_an_error(face: Picture) -> None:
    place = leaving(RIGHT)
    for width, height in ((151, 87), (33, 17), (2, 2), (1, 300)):
        small = [
            cv2.resize(picture, (width, height)).astype(np.uint8) for picture in scene(face, place)[20:60]
        ]
        detections = CompactBoxes(
            [(0, (width - 9.0, 1.0, width + 1.0, 12.0)), (9, (width - 5.0, -40.0, width + 30.0, 9.0))]
        )
        outside = CompactBoxes([(3, (width + 5.0, 3.0, width + 20.0, 20.0))])
        tracks = [
            TrackRecord(n, x[0].pts, x[-1].pts, "hide", None, Reason.NO_MATCH, None, None, None, x)
            for n, x in enumerate((detections, outside))
        ]
        found = MaskExtension(faces_of(*tracks, size=(width, height)), Orientation()).extend_masks(
            as_frames(small, "yuv444p")
        )
        assert [frame.pts for frame, _ in found] == list(range(40))


def test_one_segment_or_eight_have_the_same_masks(face: Picture, tmp_path: Path) -> None:
    """One face leaves across several boundaries, and another one enters across others."""
    out, back = leaving(RIGHT), leaving(DOWN)

    def enters(index: int) -> Place | None:
        return back(FRAMES - 1 - index)

    pictures = scene(face, out)
    for index, picture in enumerate(pictures):
        where = enters(index)
        if where is not None:
            paste(picture, face, where)
    source = write(tmp_path / "in.mp4", pictures)
    shown = frame_times(source)
    tracks = (track(0, out, range(0, FACE_UNTIL + 1, 5)), track(1, enters, range(70, FRAMES, 5)))
    faces = in_units_of(replace(faces_of(*tracks), time_base=time_base_of(source)), shown)

    def boxes(segment: Segment) -> dict[int, list[Box]]:
        known = read_faces_between(faces.to_bytes(), segment.start, segment.end)
        extension = MaskExtension(known, Orientation())
        needed = extension.required_frames(segment)
        found = extension.extend_masks(read_frames(segment.source, needed.start, needed.end))
        return {frame.pts or 0: boxes for frame, boxes in found if segment.contains(frame.pts or 0)}

    whole = boxes(Segment(str(source)))
    assert sum(map(len, whole.values())) > 60
    bounds = [None, *(shown[FRAMES * part // 8] for part in range(1, 8)), None]
    parts: dict[int, list[Box]] = {}
    for start, end in pairwise(bounds):
        parts |= boxes(Segment(str(source), start, end))
    assert parts == whole
    assert sorted(whole) == shown


def test_black_frames_before_a_segment_are_not_counted_in_it(face: Picture, tmp_path: Path) -> None:
    """The second segment decodes damaged frames of the first one, because a face is followed into it."""
    source = write(tmp_path / "in.mp4", scene(face, lambda index: MIDDLE))
    shown = frame_times(source)
    spoil(source, number=26)
    faces = in_units_of(
        replace(faces_of(track(0, lambda index: MIDDLE, range(0, 21, 5))), time_base=time_base_of(source)),
        shown,
    )
    start = shown[50]
    assert (MaskExtension(faces, UPRIGHT).required_frames(Segment(str(source), start)).start or 0) == shown[
        20
    ]
    parts = [
        redact_segment(segment, faces, str(tmp_path / "out.nut"), Options(on_decode_error="hide"))
        for segment in (Segment(str(source), None, start), Segment(str(source), start), Segment(str(source)))
    ]
    assert [len(part.frames) for part in parts] == [50, 50, 100]
    assert parts[0].black_frames == parts[2].black_frames > 0
    assert parts[1].black_frames == 0


def spoil(source: Path, number: int) -> None:
    """Damage the packet of that number."""
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        place = (packet.pos or 0) + 8 + packet.size // 3
    data = bytearray(source.read_bytes())
    data[place : place + 30] = np.random.default_rng(1).integers(0, 256, 30, dtype=np.uint8).tobytes()
    source.write_bytes(bytes(data))


def require_near(one: dict[int, list[Box]], other: dict[int, list[Box]]) -> None:
    assert len(one) > 40
    assert len(one.keys() ^ other.keys()) <= 2
    for pts in one.keys() & other.keys():
        assert np.abs(np.subtract(one[pts], other[pts])).max() < 4


def redacted(
    folder: Path, pictures: Sequence[Picture], faces: Faces
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Return the frames, in gray, of the scene's video and of its redacted copy."""
    source, out = write(folder / "in.mp4", pictures), folder / "out.nut"
    known = in_units_of(replace(faces, time_base=time_base_of(source)), frame_times(source))
    redact_segment(Segment(str(source)), known, str(out), Options())
    return list(gray(source)), list(gray(out))


def in_units_of(faces: Faces, shown: Sequence[int]) -> Faces:
    """Return the faces with the times of the file's frames instead of their numbers."""
    tracks = []
    for found in faces.tracks:
        detections = CompactBoxes((shown[detection.pts], detection.box) for detection in found.detections)
        tracks.append(replace(found, start=detections[0].pts, end=detections[-1].pts, detections=detections))
    return replace(faces, tracks=tuple(tracks))


def write(path: Path, pictures: Sequence[Picture]) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.gop_size = 12
        video.options = {"preset": "ultrafast", "crf": "12"}
        for frame in as_frames(pictures):
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def time_base_of(path: Path) -> str:
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        assert base is not None
        return f"{base.numerator}/{base.denominator}"


def gray(path: Path) -> Iterator[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])
