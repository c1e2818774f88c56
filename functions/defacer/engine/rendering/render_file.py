"""A video from its faces: hide them in the whole of it, check the result, join with the source's sound, check."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from defacer.engine.errors import CheckError
from defacer.engine.media.joiner import JoinResult, SegmentFile, join_files
from defacer.engine.media.reader import Segment, Source
from defacer.engine.models.yunet import YuNet
from defacer.engine.options import Options
from defacer.engine.verification.release_gate import Checked, redact_and_verify
from defacer.plurals import pluralize
from defacer.report.faces import Faces


@dataclass(frozen=True)
class Rendered:
    """A written video, and its faces with those that the check of the result found.

    `black_frames` could not be decoded, or depend on damaged ones. `checked` is None where nothing was checked.
    """

    joined: JoinResult
    black_frames: int
    faces: Faces
    checked: Checked | None


def render(
    source: Source,
    faces: Faces,
    options: Options,
    replacement: bytes | None,
    out: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> Rendered:
    """Write the MP4 `out`, which appears when it is complete.

    Raises as `redact` and `join` do, CheckError if the video has not the frames that the faces are of.
    """
    with tempfile.TemporaryDirectory(prefix="defacer-", dir=out.parent) as folder:
        segment, result = Path(folder) / "segment.nut", Path(folder) / "joined.mp4"
        redacted = redact_and_verify(Segment(source), faces, segment, options, YuNet, replacement, progress)
        written, checked = redacted.written, redacted.checked
        if len(written.frames) != faces.frames:
            raise CheckError(
                f"the video gave {pluralize(len(written.frames), 'frame')}, but faces were looked for in "
                f"{faces.frames}: "
                "is it the video that the report is about?"
            )
        joined = join_files(source, [SegmentFile.from_path(str(segment), written)], result)
        result.replace(out)
    found = checked.tracks if checked else ()
    return Rendered(joined, written.black_frames, replace(faces, tracks=faces.tracks + found), checked)
