"""A video from its faces: hide them in the whole of it, join with the source's sound, check. Needs no model."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from functions.engine.errors import CheckError
from functions.engine.faces import Faces
from functions.engine.hide import hide
from functions.engine.join import Joined, SegmentFile, join_files
from functions.engine.options import Options
from functions.engine.video import Segment, Source
from functions.words import counted


def render(
    source: Source,
    faces: Faces,
    options: Options,
    replacement: bytes | None,
    out: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Joined, int]:
    """Write the MP4 `out`, which appears when it is complete; gives also how many frames are black.

    Those could not be decoded, or lean on such. Raises as `hide` and `join` do, CheckError if the video has not the
    frames that the faces are of.
    """
    with tempfile.TemporaryDirectory(prefix="defacer-", dir=out.parent) as folder:
        segment, result = Path(folder) / "segment.nut", Path(folder) / "joined.mp4"
        written = hide(Segment(source), faces, str(segment), options, replacement, progress)
        if len(written.frames) != faces.frames:
            raise CheckError(
                f"the video gave {counted(len(written.frames), 'frame')}, but faces were looked for in {faces.frames}: "
                "is it the video that the report is about?"
            )
        joined = join_files(source, [SegmentFile.at(str(segment), written)], result)
        result.replace(out)
    return joined, written.black_frames
