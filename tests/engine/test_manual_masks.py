"""Masks that a person drew: rectangles at exact times, over everything, in any number of segments."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import Segment, read_frames, read_picture_form
from defacer.engine.options import Options
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.rendering.redaction import Style, redact_rectangles
from defacer.engine.tracking.face_report import read_faces_between
from defacer.engine.tracking.report_edit import with_edits
from defacer.engine.verification.release_gate import redact_and_verify
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Origin
from tests.clips import astronaut, encode_picture, frame_times
from tests.engine.scene_files import Shown, faces_in, track_of, write_scene

FACE = Shown(astronaut(), (200, 80), 200)
RED = Options(mode="solid", color="#ff0000", quality=0, verify="off")
STYLES = [
    Style("blur"),
    Style("pixelate"),
    Style("solid"),
    Style("image", picture=np.full((9, 9, 4), 99, np.uint8)),
]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Return a scene of 2 s that shows one face."""
    return write_scene(tmp_path / "scene.mp4", [FACE])


def unit_of(scene: Path) -> int:
    return frame_times(scene)[1]


def with_mask(faces: Faces, unit: int, boxes: dict[int, Box], decision: Decision = "hide") -> Faces:
    """Return the faces with a mask that was drawn at these frames."""
    mask = AddedTrack(CompactBoxes((number * unit, box) for number, box in boxes.items()), decision=decision)
    return Faces.from_bytes(with_edits(faces.to_bytes(), Edits(added=(mask,)), None).document)


def red_boxes(path: Path, orientation: Orientation = Orientation()) -> list[Box | None]:  # noqa: B008
    """Return the box around all red pixels of each displayed frame."""
    found: list[Box | None] = []
    for frame in read_frames(str(path)):
        image = orientation.to_displayed(frame.to_ndarray(format="rgb24").astype(np.uint8)).astype(int)
        rows, columns = np.nonzero((image[..., 0] > 200) & (image[..., 1] < 60) & (image[..., 2] < 60))
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
        found.append(box)
    return found


def render(
    scene: Path, faces: Faces, folder: Path, bounds: list[int | None] | None = None
) -> list[Box | None]:
    """Redact the scene in segments, and return the red boxes of its frames."""
    found = []
    for number, (start, end) in enumerate(pairwise(bounds or [None, None])):
        out = folder / f"{number}.nut"
        part = read_faces_between(faces.to_bytes(), start, end)
        redact_segment(Segment(str(scene), start, end), part, str(out), RED)
        found += red_boxes(out)
    return found


def require_near(found: list[Box | None], number: int, expected: Box) -> None:
    """Compare a mask with a box. It is at most two pixels (a chroma sample) larger, and never smaller."""
    box = found[number]
    assert box is not None
    assert 0 <= expected[0] - box[0] <= 4
    assert 0 <= expected[1] - box[1] <= 4
    assert 0 <= box[2] - expected[2] <= 4
    assert 0 <= box[3] - expected[3] <= 4


def test_mask_is_a_rectangle_from_its_first_to_its_last_frame(scene: Path, tmp_path: Path) -> None:
    box = (100.0, 50.0, 180.0, 130.0)
    found = render(scene, with_mask(faces_in(scene), unit_of(scene), {10: box, 20: box}), tmp_path)
    assert [number for number, red in enumerate(found) if red] == list(range(10, 21))
    require_near(found, 10, box)
    require_near(found, 20, box)


@pytest.mark.parametrize("degrees", [90, 180, -90])
@pytest.mark.parametrize("origin", [Origin.MANUAL, Origin.IMPORTED])
def test_box_is_in_pixels_of_the_displayed_picture(
    origin: Origin, degrees: int, scene: Path, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(scene)) as given, av.open(str(turned), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    form, box = read_picture_form(str(turned)), (30.0, 250.0, 90.0, 330.0)
    width, height = form.orientation.displayed_size(form.width, form.height)
    faces = replace(faces_in(turned), width=width, height=height)
    added = AddedTrack(CompactBoxes([(0, box), (10 * unit_of(turned), box)]), origin)
    faces = Faces.from_bytes(with_edits(faces.to_bytes(), Edits(added=(added,)), None).document)
    redact_segment(Segment(str(turned)), faces, str(tmp_path / "out.nut"), RED)
    found = red_boxes(tmp_path / "out.nut", form.orientation)[5]
    assert found is not None
    assert [(found[0] + found[2]) / 2, (found[1] + found[3]) / 2] == pytest.approx([60, 290], abs=3)
    assert found[0] <= box[0] < box[2] <= found[2]


def test_mask_moves_in_a_straight_line_between_corrected_moments(scene: Path, tmp_path: Path) -> None:
    boxes: dict[int, Box] = {
        10: (100.0, 50.0, 180.0, 130.0),
        20: (200.0, 100.0, 300.0, 200.0),
        24: (200.0, 100.0, 300.0, 300.0),
    }
    found = render(scene, with_mask(faces_in(scene), unit_of(scene), boxes), tmp_path)
    require_near(found, 15, (150.0, 75.0, 240.0, 165.0))
    require_near(found, 22, (200.0, 100.0, 300.0, 250.0))
    assert found[25] is None


def test_eight_segments_have_the_masks_of_one(scene: Path, tmp_path: Path) -> None:
    unit, times = unit_of(scene), frame_times(scene)
    boxes: dict[int, Box] = {3: (10.0, 10.0, 90.0, 90.0), 47: (400.0, 200.0, 500.0, 280.0)}
    faces = with_mask(faces_in(scene), unit, boxes)
    bounds = [None, *(times[len(times) * part // 8] for part in range(1, 8)), None]
    assert render(scene, faces, tmp_path, bounds) == render(scene, faces, tmp_path)


def test_mask_hides_a_kept_face_until_it_is_removed(scene: Path, tmp_path: Path) -> None:
    unit = unit_of(scene)
    kept = track_of(scene, FACE, 0, "keep", 0, 49)
    box: Box = (FACE.face[0] - 5, FACE.face[1] - 5, FACE.face[2] + 5, FACE.face[3] + 5)
    masked = with_mask(faces_in(scene, kept), unit, {0: box, 49: box})
    found = render(scene, masked, tmp_path)
    for number in (0, 25, 49):
        require_near(found, number, box)
    removed = with_edits(masked.to_bytes(), Edits(decisions={1: "keep"}), None).document
    assert render(scene, Faces.from_bytes(removed), tmp_path) == [None] * 50


def test_removed_mask_does_not_open_another_track_s_mask(scene: Path, tmp_path: Path) -> None:
    hidden = faces_in(scene, track_of(scene, FACE, 0, "hide", 0, 49))
    box: Box = (FACE.face[0], FACE.face[1], FACE.face[2], FACE.face[3])
    removed = with_mask(hidden, unit_of(scene), {0: box, 49: box}, "keep")
    assert render(scene, removed, tmp_path) == render(scene, hidden, tmp_path)


@pytest.mark.parametrize("decision", ["hide", "keep"])
def test_gate_counts_a_mask_but_not_a_removed_one(
    decision: Decision, scene: Path, tmp_path: Path, engine: Engine
) -> None:
    """The image under the mask is a face, so that the check detects one there."""
    faces = with_mask(faces_in(scene), unit_of(scene), {0: FACE.face, 49: FACE.face}, decision)
    options = Options(mode="image", verify="standard")
    result = redact_and_verify(
        Segment(str(scene)), faces, tmp_path / "out.nut", options, engine.checker, encode_picture(astronaut())
    )
    assert result.checked is not None
    assert (result.checked.tracks == ()) == (decision == "hide")


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.mode)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "nv12", "yuv420p10le"])
def test_every_pixel_of_the_box_is_redacted(style: Style, pixel_format: str) -> None:
    """Fine detail in the box leaves no trace, also in its corners, and pixels far from the box stay."""
    box: Box = (61.3, 40.6, 160.2, 120.9)
    inside = np.s_[41:120, 62:160]
    board = np.full((200, 240, 3), 90, np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 180
    frame = av.VideoFrame.from_ndarray(board, format="rgb24").reformat(format=pixel_format)
    before = frame.reformat(format="gray").to_ndarray()
    redact_rectangles(frame, [box], style, Orientation())
    after = frame.reformat(format="gray").to_ndarray()
    assert np.abs(np.diff(after[inside].astype(int), axis=1)).max() <= 12
    outside = np.ones(after.shape, bool)
    outside[36:126, 57:165] = False
    assert (before[outside] == after[outside]).all()


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.mode)
def test_memory_of_a_huge_mask_is_limited_by_the_frame(style: Style) -> None:
    board = np.full((200, 240, 3), 90, np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 180
    frame = av.VideoFrame.from_ndarray(board, format="rgb24").reformat(format="yuv420p")
    redact_rectangles(frame, [(-1e5, -1e5, 1e5, 1e5), (500.0, 0.0, 900.0, 9.0)], style, Orientation())
    after = frame.reformat(format="gray").to_ndarray()
    assert np.abs(np.diff(after.astype(int), axis=1)).max() <= 12


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "nv12", "yuv420p10le"])
def test_whole_replacement_picture_is_in_the_box(pixel_format: str) -> None:
    picture = np.full((50, 50, 4), 255, np.uint8)
    picture[5:45, 5:45, :3] = 40  # a white frame around a dark square
    box: Box = (60.0, 40.0, 160.0, 120.0)
    frame = av.VideoFrame.from_ndarray(np.full((200, 240, 3), 90, np.uint8), format="rgb24")
    frame = frame.reformat(format=pixel_format)
    redact_rectangles(frame, [box], Style("image", picture=picture), Orientation())
    after = frame.reformat(format="rgb24").to_ndarray().astype(int)[40:120, 60:160]
    expected = cv2.resize(picture[..., :3], (100, 80), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(after - expected).mean() < 10
    for edge in (after[2, 2:-2], after[-3, 2:-2], after[2:-2, 2], after[2:-2, -3]):
        assert edge.min() > 200
