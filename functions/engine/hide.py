"""The second pass over a segment: decode at full size, hide, encode. Needs no model: all is in the faces."""

from collections.abc import Callable
from fractions import Fraction

from functions.engine.conceal import Style, conceal
from functions.engine.cover import Cover
from functions.engine.encoding import encoding_of
from functions.engine.errors import CheckError
from functions.engine.faces import Faces
from functions.engine.options import Options
from functions.engine.picture import decode_picture
from functions.engine.video import Segment, read_frames
from functions.engine.write import Written, write_segment


def hide(
    segment: Segment,
    faces: Faces,
    out: str,
    options: Options,
    replacement: bytes | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Written:
    """Write the segment to the NUT file `out` with all tracks hidden that are to be hidden.

    Each frame of what is returned passed through `conceal`.
    `progress` gets the number of frames that went through, and may raise to stop. Raises VideoError for a video
    that can't be done, PictureError for a replacement that can't be read, CheckError for another video than the
    faces are of.
    """
    picture = None
    if options.mode == "image":
        picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
    style = Style(options.mode, options.strength, options.color, picture)
    encoding = encoding_of(segment.source)
    if encoding.time_base != Fraction(faces.time_base):
        raise _another_video(
            f"times in units of {encoding.time_base} s", f"times in units of {faces.time_base} s"
        )
    cover = Cover(faces)
    black: list[int] | None = [] if options.damaged == "hide" else None
    with write_segment(out, encoding, options.quality) as writer:
        for decoded in read_frames(segment.source, segment.start, segment.end, black, lambda: progress(0)):
            frame, orientation = encoding.prepared(decoded), encoding.orientation
            width, height = orientation.displayed_size(frame.width, frame.height)
            if (width, height) != (faces.width, faces.height):
                raise _another_video(
                    f"pictures of {width}x{height}", f"pictures of {faces.width}x{faces.height}"
                )
            pts = frame.pts or 0
            conceal(frame, cover.boxes(pts), style, orientation, cover.openings(pts))
            writer.write(frame)
            progress(writer.frames)
    return writer.written(black_frames=len(black or ()))


def _another_video(found: str, expected: str) -> CheckError:
    return CheckError(
        f"it has {found}, but its report is about a video with {expected}. Use this video's own "
        "report. If an earlier version wrote that one, process the video again."
    )
