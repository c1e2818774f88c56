"""Real clips as a camera would send them: faces that must be hidden are not visible in the redacted frames."""

import importlib.util
import json
import os
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import cv2
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.orientation import Orientation
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Picture
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.web.live.jpeg import fit_frame
from defacer.web.live.stream import TIME_BASE

FRAMES_PER_SECOND, WIDTH = 15, 640
CLIPS = Path(os.environ.get("DEFACER_EVAL", "")) / "clips"
HEAVY_BLUR = 6

pytestmark = pytest.mark.skipif(
    "DEFACER_EVAL" not in os.environ, reason="DEFACER_EVAL is not set: CONTRIBUTING.md"
)


@pytest.fixture(scope="module")
def score() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score", CLIPS.parent / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_camera_frames(clip: Path) -> tuple[float, list[tuple[int, av.VideoFrame]]]:
    """Return the scale of a camera's frames against the clip, and the frames with their numbers in the clip."""
    frames, due, scale = [], Fraction(0), 1.0
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            seconds = Fraction(frame.pts or 0) * Fraction(frame.time_base or 1)
            if seconds < due:
                continue
            due = max(due, seconds) + Fraction(9, 10) / FRAMES_PER_SECOND
            scale = WIDTH / frame.width
            small = fit_frame(frame.reformat(WIDTH, round(frame.height * WIDTH / frame.width / 2) * 2))
            small.pts, small.time_base = round(seconds / TIME_BASE), TIME_BASE
            frames.append((number, small))
    return scale, frames


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c02", "c06", "c10"])
def test_no_face_leaks_and_the_target_is_mostly_kept(name: str, engine: Engine, score: ModuleType) -> None:
    truth = json.loads((CLIPS / f"{name}.json").read_text())
    picture = CLIPS / truth["target_image"]
    gallery = engine.gallery([Picture("target", "the target", picture.read_bytes())], "sface")
    scale, frames = read_camera_frames(CLIPS / f"{name}.mp4")
    snapshots = list(engine.follow((frame for _, frame in frames), TIME_BASE, gallery, Options()))
    leaked, hidden, kept, lost = [], 0, 0, 0
    index = 0
    for number, frame in frames:
        pts = frame.pts or 0
        while index < len(snapshots) and not snapshots[index].covers(pts):
            index += 1
        if index == len(snapshots):
            break
        before = frame.to_ndarray(format="gray")
        redact_boxes(frame, snapshots[index].mask_schedule.boxes(pts), Style(), Orientation())
        after = frame.to_ndarray(format="gray")
        for role, box in ((face[2], face[3:]) for face in truth["faces"] if face[0] == number):
            a, b = (score.crop(image, [side * scale for side in box]) for image in (before, after))
            if (
                a is None
                or role == "ignore"
                or score.ssim(a, cv2.GaussianBlur(a, (0, 0), HEAVY_BLUR)) >= score.SEEN_SSIM
            ):
                continue
            seen = score.ssim(a, b) >= score.SEEN_SSIM
            if role == "other":
                hidden += not seen
                leaked += [number] * seen
            else:
                kept += seen
                lost += not seen
    assert leaked == []
    assert hidden > 20
    assert kept > lost
