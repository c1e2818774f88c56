"""The second pass over a segment: decode at full size, hide, encode. Needs no model: all is in the faces."""

from collections.abc import Callable
from fractions import Fraction

from functions.engine.conceal import Style, can_conceal, conceal
from functions.engine.cover import Cover
from functions.engine.errors import CheckError
from functions.engine.faces import Faces
from functions.engine.gallery import decode_picture
from functions.engine.options import Options
from functions.engine.video import Segment, displayed_size, open_video, read_frames, time_base
from functions.engine.write import write_segment


def hide(
    segment: Segment,
    faces: Faces,
    out: str,
    options: Options,
    replacement: bytes | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[int, ...]:
    """Write the segment to the NUT file `out` with all tracks hidden that are to be hidden.

    Returns the presentation times of the frames, each of which passed through `conceal`. `progress` gets their
    number, and may raise to stop. Raises VideoError for a video that can't be done, PictureError for a
    replacement that can't be read, CheckError for another video than the faces are of.
    """
    picture = None
    if options.mode == "image":
        picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
    style = Style(options.mode, options.strength, options.color, picture)
    with open_video(segment.source) as (_, stream):  # one reader at a time may use a file object
        rate = stream.average_rate
        if time_base(stream) != Fraction(faces.time_base):
            raise _another_video(f"times in units of {time_base(stream)} s", f"of {faces.time_base} s")
    cover = Cover(faces)
    written: list[int] = []
    with write_segment(out, options.quality, rate) as writer:
        for frame in read_frames(segment.source, segment.start, segment.end):
            if not can_conceal(frame.format.name):
                frame = frame.reformat(format="yuv420p")
            width, height = displayed_size(frame)
            if (width, height) != (faces.width, faces.height):
                raise _another_video(f"pictures of {width}x{height}", f"of {faces.width}x{faces.height}")
            pts = frame.pts or 0
            conceal(frame, cover.boxes(pts), style)
            writer.write(frame)
            written.append(pts)
            progress(len(written))
    return tuple(written)


def _another_video(found: str, expected: str) -> CheckError:
    return CheckError(
        f"it has {found}, but faces were looked for in a video with {expected}: is it the video of the report?"
    )
