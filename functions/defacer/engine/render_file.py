"""Render a whole video from its face report: redact it, check the result, and join it with the source's sound.

The command line uses it. A job does the same steps segment by segment, in the worker and in merge.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from defacer.engine.errors import CheckError
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.media.joiner import JoinResult, SegmentFile, join_files
from defacer.engine.media.reader import Segment
from defacer.engine.models.yunet import YuNet
from defacer.engine.options import Options
from defacer.engine.output_paths import move_result
from defacer.engine.rendering.redact_segment import find_copy_obstacle
from defacer.engine.verification.release_gate import Checked, redact_and_verify
from defacer.plurals import pluralize
from defacer.report.faces import Faces


@dataclass(frozen=True)
class Rendered:
    """A written video, and its faces, including those that the check of the result found.

    `black_frames` is the number of frames that could not be decoded, or depend on damaged frames. `copied_frames` is
    the number of those that were not encoded. `checked` is None if the result was not checked.
    """

    joined: JoinResult
    black_frames: int
    copied_frames: int
    faces: Faces
    checked: Checked | None


# Called with the stage, the number of processed frames, and the number of all frames if it is known.
StageCallback = Callable[[str, int, int | None], None]
REDACTING, CHECKING, JOINING = "redacting faces", "checking the result", "joining picture and sound"


def render_video(
    source: Source,
    faces: Faces,
    options: Options,
    replacement: bytes | None,
    out: Path,
    progress: StageCallback = lambda *_: None,
    before_move: Callable[[], None] = lambda: None,
    *,
    force: bool = False,
) -> Rendered:
    """Write the MP4 `out`, which appears when it is complete, and replaces a file only with `force`.

    `before_move` is called when all of the source was read, and can raise an error so that nothing appears. Raises the
    errors of `redact_and_verify` and `join_files`, and CheckError if the faces belong to another video.
    """

    def show_redacted(done: int) -> None:
        if done:  # 0: a frame was decoded or checked
            progress(REDACTING, done, faces.frames)

    obstacle = find_copy_obstacle(source, options) if options.copy_untouched else None
    if obstacle:
        progress(f"encoding all frames, because {obstacle}", 0, None)
    with tempfile.TemporaryDirectory(prefix="defacer-", dir=out.parent) as folder:
        segment, result = Path(folder) / "segment.nut", Path(folder) / "joined.mp4"
        redacted = redact_and_verify(
            Segment(source),
            faces,
            segment,
            options,
            YuNet,
            replacement,
            show_redacted,
            lambda: progress(CHECKING, 0, None),
        )
        written, checked = redacted.written, redacted.checked
        if len(written.frames) != faces.frames:
            raise CheckError(
                f"the video has {pluralize(len(written.frames), 'frame')}, but its report is about {faces.frames} "
                "frames. Use the report of this video."
            )
        progress(JOINING, 0, None)
        joined = join_files(
            source,
            [SegmentFile.from_path(str(segment), written)],
            result,
            past_damage=options.on_decode_error == "hide",
            sound=options.sound,
        )
        before_move()
        move_result(result, out, force=force)
    found = checked.tracks if checked else ()
    return Rendered(
        joined,
        written.black_frames,
        len(written.copied),
        replace(faces, tracks=faces.tracks + found),
        checked,
    )
