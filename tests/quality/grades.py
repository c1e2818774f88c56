"""What score.py says about one result."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.quality.clips import Truth
from tests.quality.figures import Share

MAX_DRIFT_MS = 0.5


@dataclass(frozen=True)
class Grades:
    """The fields of score.py's result that are judged here. `hides_all`: no target was given, so no one is kept."""

    hides_all: bool
    leaked: Share
    kept: Share
    spill: float
    is_unchanged: bool  # the result has the source's frames, times, size and sound


def grades_of(truth: Truth, source: Path, result: Path, score: ModuleType, *, hides_all: bool) -> Grades:
    """Grade a result with score.py."""
    found: dict[str, Any] = score.score(truth, str(source), str(result), hides_all)
    return Grades(
        hides_all,
        Share(found["leaked"], found["faces_to_hide"]),
        Share(round((found["kept"] or 0) * found["target_faces"]), found["target_faces"]),
        found["spill"],
        found["frames_equal"]
        and found["size_equal"]
        and found["audio_equal"]
        and found["pts_drift_ms"] < MAX_DRIFT_MS
        and not found["av_offset_ms"],
    )
