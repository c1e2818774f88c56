"""Test faces that are sideways or upside down in the displayed picture."""

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.models.arrays import Detection
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Picture
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.reduced_frame import ReducedFrame
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.engine.tracking.turns.turn_finder import TurnFinder, find_face_turns
from defacer.engine.tracking.turns.turned_views import TurnedFace, merge_views, turn_back, turn_image
from defacer.report.faces import Faces
from tests.clips import Clip, admiral, astronaut, encode_picture, write_clip
from tests.clips import Picture as Portrait
from tests.engine.scene_files import Shown, write_scene

POINTS = np.array([[30, 20], [40, 20], [35, 27], [31, 34], [39, 34]], np.float32)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def turned_clip(folder: Path, turn: int) -> Path:
    portrait = turn_image(admiral()[:400, 60:460], turn)
    return write_clip(folder / "in.mp4", Clip(seconds=3, size=(480, 270), audio=False, portrait=portrait))


def detect(
    engine: Engine, clip: Path, target: np.ndarray, *cuts: int
) -> tuple[Faces, list[SegmentDetections]]:
    gallery = engine.gallery([Picture("ada", "ada.png", encode_picture(target))], Options().recognizer)
    ends = [None, *cuts, None]
    parts = [
        engine.detect_segment(Segment(str(clip), start, end), gallery, Options())
        for start, end in itertools.pairwise(ends)
    ]
    return link_faces(parts, gallery, Options()), parts


@pytest.mark.parametrize(
    "turn", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_target_is_kept_in_a_turned_picture(turn: int, engine: Engine, tmp_path: Path) -> None:
    clip = turned_clip(tmp_path, turn)
    whole, _ = detect(engine, clip, admiral())
    assert {track.decision for track in whole.tracks} == {"keep"}
    in_segments, _ = detect(engine, clip, admiral(), 12_800)
    assert in_segments == whole


def test_turned_face_that_appears_later_is_the_same_in_segments(engine: Engine, tmp_path: Path) -> None:
    """It appears within a block of the coarse grid, and the second segment begins there too."""
    clip = tmp_path / "in.mp4"
    upright, turned = (
        cv2.resize(face, (160, 160), interpolation=cv2.INTER_AREA)
        for face in (astronaut()[:300, 100:400], turn_image(admiral()[:400, 60:460], 2))
    )
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "5"})
        video.width, video.height, video.pix_fmt = 480, 270, "yuv420p"
        for number in range(75):
            picture = np.full((270, 480, 3), 90, np.uint8)
            picture[50:210, 40:200] = upright
            if number >= 22:
                picture[50:210, 280:440] = turned
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(video.encode(None))
    whole, _ = detect(engine, clip, admiral())
    in_segments, _ = detect(engine, clip, admiral(), 30 * 512)
    assert in_segments == whole


def test_stranger_is_hidden_in_a_turned_picture(engine: Engine, tmp_path: Path) -> None:
    faces, parts = detect(engine, turned_clip(tmp_path, 2), astronaut())
    assert {track.decision for track in faces.tracks} == {"hide"}
    confident = parts[0].confident_score
    assert all(any(face.score >= confident for face in sample.faces) for sample in parts[0].samples)


@pytest.mark.parametrize("side", [300, 120])
@pytest.mark.parametrize("portrait", [astronaut, admiral])
def test_turn_that_makes_a_face_upright_is_found(
    portrait: Callable[[], Portrait], side: int, engine: Engine
) -> None:
    picture = np.full((360, 640, 3), 90, np.uint8)
    picture[30 : 30 + side, 200 : 200 + side] = cv2.resize(
        portrait()[:400, 60:460], (side, side), interpolation=cv2.INTER_AREA
    )
    turned = [find_face_turns(turn_image(picture, turn), engine.checker()) for turn in range(4)]
    assert turned == [(), (3,), (2,), (1,)]


def small_profile() -> Portrait:
    """Return a frame in whose small copies YuNet detects no clear face."""
    picture = np.full((360, 640, 3), 90, np.uint8)
    picture[30:100, 200:270] = cv2.resize(
        rolled(admiral()[:400, 60:460], 60), (70, 70), interpolation=cv2.INTER_AREA
    )
    return picture


def set_turns(pictures: dict[int, Portrait], engine: Engine) -> list[tuple[int, ...]]:
    """Return the turns of these frames, by their times in tenths of a second."""
    finder, found = TurnFinder(engine.checker, engine.detector(Options().detector)), []
    for time, picture in pictures.items():
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = time, Fraction(1, 10)
        reduced = ReducedFrame(frame)
        finder.set_turns(reduced)
        found.append(reduced.turns)
    return found


def test_turn_of_a_small_face_is_found_in_the_whole_frame(engine: Engine) -> None:
    assert find_face_turns(small_profile(), engine.checker()) is None
    assert set_turns({0: small_profile()}, engine) == [(3,)]


def test_turn_of_a_small_face_leaves_the_turn_of_a_large_one(engine: Engine) -> None:
    """The large face can be blurred in the first frame of a block, and clear in the next ones."""
    large = np.full((360, 640, 3), 90, np.uint8)
    large[30:230, 200:400] = cv2.resize(astronaut()[:400, 60:460], (200, 200), interpolation=cv2.INTER_AREA)
    large = np.ascontiguousarray(large[::-1, ::-1])
    turns = set_turns({0: large, 12: large, 24: small_profile(), 36: large}, engine)
    assert turns == [(2,), (2,), (2, 3), (2, 3)]


def test_turn_of_a_small_face_beside_an_upright_one_is_found(engine: Engine) -> None:
    picture = small_profile()
    picture[140:340, 400:600] = cv2.resize(astronaut(), (200, 200), interpolation=cv2.INTER_AREA)
    assert find_face_turns(picture, engine.checker()) == ()
    assert set_turns({0: picture}, engine) == [(3,)]


def test_turn_of_a_small_face_leaves_the_search_for_clear_faces(engine: Engine) -> None:
    """A large face that appears later in the block has another turn."""
    large = np.full((360, 640, 3), 90, np.uint8)
    large[30:230, 200:400] = cv2.resize(astronaut()[:400, 60:460], (200, 200), interpolation=cv2.INTER_AREA)
    large = np.ascontiguousarray(large[::-1, ::-1])
    assert set_turns({0: small_profile(), 6: large}, engine) == [(3,), (2, 3)]


@pytest.mark.parametrize("second", [24, 48], ids=["next block", "later block"])
def test_turns_last_for_the_next_block(second: int, engine: Engine) -> None:
    empty = np.full((360, 640, 3), 90, np.uint8)
    turns = set_turns({0: small_profile(), second: empty}, engine)
    assert turns == [(3,), (3,) if second == 24 else ()]


def test_turned_face_that_is_lost_at_a_boundary_is_the_same_in_segments(
    engine: Engine, tmp_path: Path
) -> None:
    """The block of the second segment begins without the face. Its turn is known from the block before."""
    portrait = rolled(admiral()[:400, 60:460], 120)
    shown = [Shown(portrait, (200, 100), 40, 0, 58), Shown(portrait, (200, 100), 40, 62)]
    clip = write_scene(tmp_path / "in.mp4", shown, 3.8)
    whole, parts = detect(engine, clip, admiral())
    in_segments, split = detect(engine, clip, admiral(), 75 * 512)
    assert in_segments == whole
    assert [len(part.samples) for part in parts] == [sum(len(part.samples) for part in split)]


def test_picture_without_a_face_leaves_the_turns_undecided(engine: Engine) -> None:
    assert find_face_turns(np.full((360, 640, 3), 90, np.uint8), engine.checker()) is None


@pytest.mark.parametrize(
    "turn", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow), 3]
)
@pytest.mark.parametrize("is_target_lying", [True, False])
def test_target_is_kept_beside_a_lying_or_an_upright_person(
    turn: int, is_target_lying: bool, engine: Engine, tmp_path: Path
) -> None:
    upright, lying = (admiral(), astronaut()) if is_target_lying else (astronaut(), admiral())
    left = Shown(upright[:400, 60:460], (20, 40), 280)
    right = Shown(turn_image(lying[:400, 60:460], turn), (340, 40), 280)
    clip = write_scene(tmp_path / "in.mp4", [left, right], 1.0)
    faces, _ = detect(engine, clip, astronaut())
    kept = [track.detections[0].box[0] > 320 for track in faces.tracks if track.decision == "keep"]
    assert kept == [is_target_lying]
    assert len(faces.tracks) == 2


def test_target_is_kept_in_a_turned_shot_between_upright_ones(engine: Engine, tmp_path: Path) -> None:
    portrait = admiral()[:400, 60:460]
    shots = [
        Shown(turn_image(portrait, turn), (140, 0), 360, first, first + 24)
        for turn, first in ((0, 0), (2, 25), (0, 50))
    ]
    faces, _ = detect(engine, write_scene(tmp_path / "in.mp4", shots, 3.0), admiral())
    assert [(track.decision, track.start, track.end) for track in faces.tracks] == [
        ("keep", first * 512, (first + 24) * 512) for first in (0, 25, 50)
    ]


@pytest.mark.parametrize("direction", [1, pytest.param(-1, marks=pytest.mark.slow)])
def test_stranger_is_detected_while_the_camera_rolls(direction: int, engine: Engine, tmp_path: Path) -> None:
    frames = [
        Shown(
            rolled(admiral()[:400, 60:460], direction * min(90, 1.5 * number)), (140, 0), 360, number, number
        )
        for number in range(75)
    ]
    faces, parts = detect(engine, write_scene(tmp_path / "in.mp4", frames, 3.0), astronaut())
    assert {track.decision for track in faces.tracks} == {"hide"}
    confident = parts[0].confident_score
    assert all(any(face.score >= confident for face in sample.faces) for sample in parts[0].samples)


def rolled(picture: Portrait, degrees: float) -> Portrait:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_detection_in_a_turned_copy_returns_to_its_place(turn: int) -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[15:40, 28:44] = 1
    for number, (x, y) in enumerate(POINTS.astype(int), start=2):
        image[y, x] = number
    copy = turn_image(image, turn)
    rows, columns = np.nonzero(copy[..., 0])
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    points = [np.argwhere(copy[..., 0] == number)[0][::-1] + 0.5 for number in range(2, 7)]
    back = turn_back(Detection(box, 1.0, np.array(points, np.float32)), turn, image.shape)
    assert back.box.tolist() == [28, 15, 44, 40]
    assert back.landmarks == pytest.approx(POINTS + 0.5)


SIDEWAYS = np.stack([60 - POINTS[:, 1], POINTS[:, 0]], axis=1)  # eyes at the right


def face(box: tuple[float, ...], score: float, turn: int = 0) -> TurnedFace:
    """Return a face that is upright in the view with this turn, 0 or 1."""
    return TurnedFace(Detection(np.array(box, np.float32), score, SIDEWAYS if turn else POINTS), turn)


def scores(*views: TurnedFace) -> list[float]:
    return [one.score for one in merge_views(views)]


def test_part_of_a_turned_face_is_not_a_second_face() -> None:
    assert scores(face((10, 10, 60, 60), 0.5), face((0, 0, 100, 80), 0.9, 1)) == [0.9]


@pytest.mark.parametrize("box", [(25, 15, 45, 40), (55, 10, 95, 60)], ids=["small", "beside the landmarks"])
def test_other_person_in_front_of_a_turned_face_stays(box: tuple[float, ...]) -> None:
    assert scores(face(box, 0.5), face((0, 0, 100, 80), 0.9, 1)) == [0.9, 0.5]


def test_clear_face_in_front_of_a_turned_face_is_a_second_face() -> None:
    assert scores(face((10, 10, 40, 60), 0.85), face((0, 0, 100, 80), 0.9, 1)) == [0.9, 0.85]


def test_landmarks_of_the_view_that_shows_a_face_upright_are_returned() -> None:
    """The better score of the other view belongs to the same face."""
    in_wrong_view = TurnedFace(Detection(np.array((0, 0, 60, 60), np.float32), 0.9, POINTS), 1)
    [found] = merge_views([in_wrong_view, face((2, 0, 60, 62), 0.8)])
    assert found.box.tolist() == [2, 0, 60, 62]
    assert found.score == 0.9
