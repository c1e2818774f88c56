"""Tests of the whole engine by pixels: one person is kept and the other hidden, in one segment or several."""

import dataclasses
import threading
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import CheckError, EngineError, PictureError
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Mode, Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.face_report import read_faces_between
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.report_edit import with_edits
from defacer.report.compact_boxes import Box
from defacer.report.edits import Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Decision
from tests.clips import admiral, astronaut, encode_picture, frame_times
from tests.demo_boxes import compute_demo_boxes
from tests.engine.conftest import DEMO_RATE, DEMO_SECONDS, DEMO_SIZE

# Likeness of the detail inside a face's box, before and after: 1 the same, 0 gone.
GONE, KEPT = 0.5, 0.75


def gray(path: Path | str) -> list[np.ndarray]:
    return [frame.to_ndarray(format="gray") for frame in read_frames(str(path))]


def likeness(before: np.ndarray, after: np.ndarray) -> float:
    detail = [cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).ravel() for image in (before, after)]
    correlations: Any = np.corrcoef(np.stack(detail))
    return float(np.nan_to_num(correlations[0, 1]))


def remaining_detail(clip: Path, results: list[Path], name: str) -> list[float]:
    """Return the remaining detail of a face in each frame where the source shows it clearly."""
    after = [frame for path in results for frame in gray(path)]
    found = []
    for face in compute_demo_boxes(DEMO_SECONDS, DEMO_SIZE, DEMO_RATE):
        if face.name == name and face.visible:
            box = np.s_[max(0, round(face.y1)) : round(face.y2), max(0, round(face.x1)) : round(face.x2)]
            found.append(likeness(grey_of(clip)[face.frame][box], after[face.frame][box]))
    assert len(found) > DEMO_SECONDS * DEMO_RATE / 2
    return found


@cache
def grey_of(path: Path) -> list[np.ndarray]:
    return gray(path)


def link_clip(engine: Engine, clip: Path, gallery: Gallery | None, options: Options) -> Faces:
    return link_faces([engine.detect_segment(Segment(str(clip)), gallery, options)], gallery, options)


@pytest.fixture(scope="module")
def faces(engine: Engine, demo_clip: Path, gallery: Gallery) -> Faces:
    return link_clip(engine, demo_clip, gallery, Options())


@pytest.fixture(scope="module")
def faces_without_targets(engine: Engine, demo_clip: Path) -> Faces:
    return link_clip(engine, demo_clip, None, Options())


def test_target_stays_visible_and_the_other_person_is_hidden(
    faces: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.nut"
    written = redact_segment(Segment(str(demo_clip)), faces, str(out), Options())
    assert list(written.frames) == frame_times(demo_clip)
    assert max(remaining_detail(demo_clip, [out], "admiral")) < GONE
    kept = sorted(remaining_detail(demo_clip, [out], "astronaut"))
    assert kept[len(kept) // 5] > KEPT  # while they cross, the other person's mask covers both
    assert {track.person for track in faces.tracks if track.decision == "keep"} == {"astronaut"}
    assert faces.recognizer is not None
    assert faces.recognizer.startswith("sface/2021dec")
    assert {track.strangers_per_10000 for track in faces.tracks if track.decision == "keep"} == {0}
    assert all((track.strangers_per_10000 is None) == (track.distance is None) for track in faces.tracks)
    assert faces.sampled_frames < faces.frames == len(written.frames)


def test_decision_can_be_changed_without_another_detection(
    faces: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    """A stored report is enough to hide the kept face, and to keep the hidden one."""
    kept = [track.id for track in faces.tracks if track.decision == "keep"]
    hidden = [track.id for track in faces.tracks if track.decision == "hide"]
    decisions: dict[int, Decision] = {**dict.fromkeys(kept, "hide"), **dict.fromkeys(hidden, "keep")}
    stored = faces.to_bytes()
    assert Faces.from_bytes(stored) == faces
    changed = read_faces_between(with_edits(stored, Edits(decisions=decisions), None).document)
    out = tmp_path / "out.nut"
    redact_segment(Segment(str(demo_clip)), changed, str(out), Options())
    assert max(remaining_detail(demo_clip, [out], "astronaut")) < GONE
    now_kept = sorted(remaining_detail(demo_clip, [out], "admiral"))
    assert now_kept[len(now_kept) // 5] > KEPT
    with pytest.raises(EngineError, match="no track 99"):
        with_edits(stored, Edits(decisions={99: "hide"}), None)


@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid", "image"])
def test_without_targets_everyone_is_hidden_in_every_mode(
    faces_without_targets: Faces, demo_clip: Path, tmp_path: Path, mode: Mode
) -> None:
    out = tmp_path / "out.nut"
    clear_in_the_middle = np.full((40, 40, 4), 255, np.uint8)
    clear_in_the_middle[5:35, 5:35, 3] = 0
    encoded = cv2.imencode(".png", clear_in_the_middle)[1].tobytes()
    redact_segment(
        Segment(str(demo_clip)), faces_without_targets, str(out), Options(mode=mode), replacement=encoded
    )
    for name in ("admiral", "astronaut"):
        assert max(remaining_detail(demo_clip, [out], name)) < GONE


@pytest.mark.slow
def test_other_detector_hides_too(engine: Engine, demo_clip: Path, gallery: Gallery, tmp_path: Path) -> None:
    options = Options(detector="mtcnn")
    faces = link_clip(engine, demo_clip, gallery, options)
    assert faces.detector == "mtcnn"
    out = tmp_path / "out.nut"
    redact_segment(Segment(str(demo_clip)), faces, str(out), options)
    hidden = sorted(remaining_detail(demo_clip, [out], "admiral"))
    assert hidden[len(hidden) * 95 // 100] < GONE


def test_segments_have_the_same_masks_as_the_whole_video(
    faces: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    """The video is read from a file object, as in a worker."""
    shown = frame_times(demo_clip)
    bounds = [None, shown[40], shown[75], None]
    paths: list[Path] = []
    frames: list[int] = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        paths.append(tmp_path / f"{number}.nut")
        with demo_clip.open("rb") as source:
            frames += redact_segment(Segment(source, start, end), faces, str(paths[-1]), Options()).frames
    assert frames == shown
    assert max(remaining_detail(demo_clip, paths, "admiral")) < GONE
    kept = sorted(remaining_detail(demo_clip, paths, "astronaut"))
    assert kept[len(kept) // 5] > KEPT


def test_pixels_outside_every_face_are_only_re_encoded(
    faces_without_targets: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.nut"
    redact_segment(Segment(str(demo_clip)), faces_without_targets, str(out), Options())
    for before, after in zip(grey_of(demo_clip), gray(out), strict=True):
        corner = np.s_[:20, :60]
        assert cv2.PSNR(before[corner], after[corner]) > 40


def test_progress_callback_can_stop_the_work(
    engine: Engine, faces_without_targets: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    def stop(done: int) -> None:
        if done >= 20:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        engine.detect_segment(Segment(str(demo_clip)), None, Options(), progress=stop)
    with pytest.raises(TimeoutError):
        redact_segment(
            Segment(str(demo_clip)),
            faces_without_targets,
            str(tmp_path / "out.nut"),
            Options(),
            progress=stop,
        )


def test_next_frame_is_redacted_while_one_is_encoded(
    faces_without_targets: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    is_second_redacted = threading.Event()

    class Recorded(DrawnMasks):
        def add(self, pts: int, boxes: Sequence[Box]) -> None:
            super().add(pts, boxes)
            if pts > frame_times(demo_clip)[0]:
                is_second_redacted.set()

    def stop_after_the_first(written: int) -> None:
        if written == 1:
            raise TimeoutError(is_second_redacted.wait(10))

    out = str(tmp_path / "out.nut")
    with pytest.raises(TimeoutError, match="True"):
        redact_segment(
            Segment(str(demo_clip)),
            faces_without_targets,
            out,
            Options(),
            None,
            stop_after_the_first,
            Recorded(),
        )
    assert "prefetch" not in [thread.name for thread in threading.enumerate()]


def test_opencv_calls_use_one_thread_in_the_engine(
    faces_without_targets: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    first = Segment(str(demo_clip), None, frame_times(demo_clip)[2])
    cv2.setNumThreads(2)
    redact_segment(first, faces_without_targets, str(tmp_path / "out.nut"), Options())
    assert cv2.getNumThreads() == 1
    cv2.setNumThreads(2)
    Engine()
    assert cv2.getNumThreads() == 1


def test_faces_of_another_video_are_refused_before_writing(
    faces: Faces, demo_clip: Path, tmp_path: Path
) -> None:
    for other in (
        dataclasses.replace(faces, time_base="1/90000"),
        dataclasses.replace(faces, width=faces.width * 2),
    ):
        with pytest.raises(CheckError, match="Use this video's own report"):
            redact_segment(Segment(str(demo_clip)), other, str(tmp_path / "out.nut"), Options())


def test_gallery_of_another_recognizer_is_refused(engine: Engine, demo_clip: Path, gallery: Gallery) -> None:
    findings = engine.detect_segment(
        Segment(str(demo_clip), None, frame_times(demo_clip)[3]), gallery, Options()
    )
    other = dataclasses.replace(gallery, recognizer="another/1")
    segment, frames = Segment(str(demo_clip)), read_frames(str(demo_clip))
    for use in (
        lambda: link_faces([findings], other, Options()),
        lambda: engine.detect_segment(segment, other, Options()),
        lambda: next(engine.follow(frames, findings.time_base, other, Options())),
    ):
        with pytest.raises(EngineError, match=r"embedded by another/1.* by sface/.* Upload the video again"):
            use()


def test_gallery_is_equal_after_serialization(gallery: Gallery) -> None:
    again = Gallery.from_bytes(gallery.to_bytes())
    assert (again.people, again.recognizer) == (gallery.people, gallery.recognizer)
    assert (again.embeddings == gallery.embeddings).all()
    assert np.linalg.norm(again.embeddings, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.full((200, 200, 3), 90, np.uint8), "me.png shows no face"),
        (np.hstack([astronaut(), admiral()[:300, 60:360]]), "me.png shows 2 faces"),
        (cv2.resize(astronaut(), (60, 60)), "me.png shows a face only"),
    ],
)
def test_target_picture_without_a_clear_face_is_named(
    engine: Engine, picture: np.ndarray, message: str
) -> None:
    with pytest.raises(PictureError, match=message):
        engine.gallery([Picture("me", "me.png", encode_picture(picture))], "sface")
