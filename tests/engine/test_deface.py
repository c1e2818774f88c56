"""The engine as a whole, judged by pixels: one person kept, the other hidden, whole or in segments."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from functions.engine.deface import Engine, Options, Segment, SegmentResult
from functions.engine.errors import PictureError
from functions.engine.gallery import Gallery, Picture
from functions.engine.video import read_frames
from local_emulator.demo_clip import demo_truth, make_demo_clip, target_picture
from tests.clips import admiral, astronaut, encode_picture, frame_times

SECONDS, SIZE, RATE = 4.0, (640, 360), 30
# Likeness of the detail inside a face's box, before and after: 1 the same, 0 gone.
GONE, KEPT = 0.5, 0.75


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deface") / "clip.mp4"
    make_demo_clip(path, SECONDS, SIZE, RATE)
    return path


@pytest.fixture(scope="module")
def gallery(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    path = tmp_path_factory.mktemp("target") / "astronaut.png"
    target_picture(path)
    return engine.gallery([Picture("astronaut", path.name, path.read_bytes())], "casia-webface")


def grey(path: Path | str) -> list[np.ndarray]:
    return [frame.to_ndarray(format="gray") for frame in read_frames(str(path))]


def likeness(before: np.ndarray, after: np.ndarray) -> float:
    detail = [cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).ravel() for image in (before, after)]
    return float(np.nan_to_num(np.corrcoef(*detail)[0, 1]))


def seen(clip: Path, results: list[Path], name: str) -> list[float]:
    """How much of a face is left, frame by frame, where it could be recognised in the source."""
    after = [frame for path in results for frame in grey(path)]
    found = []
    for face in demo_truth(SECONDS, SIZE, RATE):
        if face.name == name and face.visible:
            box = np.s_[max(0, round(face.y1)) : round(face.y2), max(0, round(face.x1)) : round(face.x2)]
            found.append(likeness(grey_of(clip)[face.frame][box], after[face.frame][box]))
    assert len(found) > SECONDS * RATE / 2
    return found


@cache
def grey_of(path: Path) -> list[np.ndarray]:
    return grey(path)


def run(engine: Engine, clip: Path, out: Path, gallery: Gallery | None, **options: object) -> SegmentResult:
    return engine.deface_segment(Segment(str(clip)), str(out), gallery, Options(**options))  # type: ignore[arg-type]


def test_the_target_stays_and_the_other_is_hidden(
    engine: Engine, clip: Path, gallery: Gallery, tmp_path: Path
) -> None:
    out = tmp_path / "out.nut"
    result = run(engine, clip, out, gallery)
    assert list(result.frames) == frame_times(clip)
    assert max(seen(clip, [out], "admiral")) < GONE
    kept = sorted(seen(clip, [out], "astronaut"))
    assert kept[len(kept) // 5] > KEPT  # while they cross, the other's mask lies over both
    assert {track.person for track in result.tracks if track.decision == "keep"} == {"astronaut"}
    assert result.recognizer == "casia-webface/20180408-102900"
    assert result.looks < len(result.frames)


@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid", "image"])
def test_without_targets_everyone_is_hidden_in_every_mode(
    engine: Engine, clip: Path, tmp_path: Path, mode: str
) -> None:
    out = tmp_path / "out.nut"
    clear_in_the_middle = np.full((40, 40, 4), 255, np.uint8)
    clear_in_the_middle[5:35, 5:35, 3] = 0
    encoded = cv2.imencode(".png", clear_in_the_middle)[1].tobytes()
    engine.deface_segment(Segment(str(clip)), str(out), None, Options(mode=mode), replacement=encoded)
    for name in ("admiral", "astronaut"):
        assert max(seen(clip, [out], name)) < GONE


def test_the_other_detector_hides_too(engine: Engine, clip: Path, gallery: Gallery, tmp_path: Path) -> None:
    out = tmp_path / "out.nut"
    result = run(engine, clip, out, gallery, detector="mtcnn")
    assert result.detector == "mtcnn"
    hidden = sorted(seen(clip, [out], "admiral"))
    assert hidden[len(hidden) * 95 // 100] < GONE


def test_segments_together_hide_what_one_hides(
    engine: Engine, clip: Path, gallery: Gallery, tmp_path: Path
) -> None:
    """Read from a file object, as a worker does; a face at a seam is a track on both sides of it."""
    shown = frame_times(clip)
    bounds = [None, shown[40], shown[75], None]
    paths, frames = [], []
    for number, (start, end) in enumerate(pairwise(bounds)):
        paths.append(tmp_path / f"{number}.nut")
        with clip.open("rb") as source:
            segment = Segment(source, start, end)
            result = engine.deface_segment(segment, str(paths[-1]), gallery, Options())
        frames += result.frames
    assert frames == shown
    assert max(seen(clip, paths, "admiral")) < GONE
    kept = sorted(seen(clip, paths, "astronaut"))
    assert kept[len(kept) // 5] > KEPT


def test_what_lies_outside_every_face_is_only_encoded_again(
    engine: Engine, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.nut"
    run(engine, clip, out, None)
    for before, after in zip(grey_of(clip), grey(out), strict=True):
        corner = np.s_[:20, :60]
        assert cv2.PSNR(before[corner], after[corner]) > 40


def test_progress_may_stop_the_work(engine: Engine, clip: Path, tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 20:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        engine.deface_segment(Segment(str(clip)), str(tmp_path / "out.nut"), None, Options(), progress=stop)


def test_a_gallery_survives_being_stored(gallery: Gallery) -> None:
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
def test_a_target_picture_that_shows_no_clear_face_is_named(
    engine: Engine, picture: np.ndarray, message: str
) -> None:
    with pytest.raises(PictureError, match=message):
        engine.gallery([Picture("me", "me.png", encode_picture(picture))], "casia-webface")
