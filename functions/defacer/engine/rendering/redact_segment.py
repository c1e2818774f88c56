"""The second pass over a segment: decode at full size, hide, encode. Needs no model: all is in the faces."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction

import av

from defacer.engine.errors import CheckError
from defacer.engine.media.encoding import Encoding, encoding_of
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.media.segment_writer import WrittenSegment, write_segment
from defacer.engine.media.still_image import decode_picture
from defacer.engine.options import Options
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.mask_extension import MaskExtension
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Style, redact
from defacer.engine.runtime.prefetch import limit_opencv, prefetch
from defacer.engine.verification.check_ahead import CheckAhead
from defacer.engine.verification.readback import Readback
from defacer.report.faces import Faces

FRAMES_AHEAD = 2  # are redacted while the encoder works


def redact_segment(
    segment: Segment,
    faces: Faces,
    out: str,
    options: Options,
    replacement: bytes | None = None,
    progress: Callable[[int], None] = lambda _: None,
    drawn: DrawnMasks | None = None,
    check: CheckAhead | None = None,
    readback: Readback | None = None,
) -> WrittenSegment:
    """Write the segment to the NUT file `out` with all tracks hidden that are to be hidden.

    Each frame of what is returned passed through `conceal`.
    `progress` gets the number of encoded frames, and can raise to stop. Two threads call it: one decodes and redacts
    frames a little ahead of the encoder. `drawn` records the masks. `check` searches the frames before they are
    encoded, and `readback` compares them with the encoded ones. Raises
    VideoError for a video that can't be done, PictureError for a replacement that can't be read, CheckError for another
    video than the faces are of.
    """
    limit_opencv()
    picture = None
    if options.mode == "image":
        picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
    style = Style(options.mode, options.strength, options.color, picture)
    encoding = encoding_of(segment.source)
    if encoding.time_base != Fraction(faces.time_base):
        raise _another_video(
            f"times in units of {encoding.time_base} s", f"times in units of {faces.time_base} s"
        )
    cover, hold, drawn = (
        MaskSchedule(faces),
        MaskExtension(faces, encoding.orientation),
        drawn or DrawnMasks(),
    )
    drawn.orientation = encoding.orientation
    black: list[int] | None = [] if options.on_decode_error == "hide" else None
    needed = hold.reach(segment)
    decoded = read_frames(segment.source, needed.start, needed.end, black, lambda: progress(0))

    def redacted() -> Generator[av.VideoFrame]:
        first = check.masks if check else drawn
        for frame, held in hold.follow(_prepared(decoded, encoding, faces)):
            pts = frame.pts or 0
            if segment.contains(pts):
                boxes = [*cover.boxes(pts), *held]
                first.add(pts, boxes)
                redact(frame, boxes, style, encoding.orientation, cover.openings(pts, held))
                yield frame

    with (
        write_segment(out, encoding, options.quality, readback) as writer,
        closing(prefetch(redacted(), FRAMES_AHEAD)) as frames,
    ):
        if check is None:
            for frame in frames:
                writer.write(frame)
                progress(writer.frames)
        else:
            for frame, boxes, openings in check.follow(frames, encoding.orientation):
                pts = frame.pts or 0
                drawn.add(pts, [*check.masks.at(pts), *boxes])
                redact(frame, boxes, style, encoding.orientation, openings)
                writer.write(frame)
                progress(writer.frames)
    return writer.result(black_frames=sum(segment.contains(pts) for pts in black or ()))


def _prepared(frames: Iterable[av.VideoFrame], encoding: Encoding, faces: Faces) -> Iterator[av.VideoFrame]:
    """Yield the frames as they are encoded. Raises CheckError for a frame that is not as large as the faces'."""
    for decoded in frames:
        frame = encoding.convert(decoded)
        width, height = encoding.orientation.displayed_size(frame.width, frame.height)
        if (width, height) != (faces.width, faces.height):
            raise _another_video(f"pictures of {width}x{height}", f"pictures of {faces.width}x{faces.height}")
        yield frame


def _another_video(found: str, expected: str) -> CheckError:
    return CheckError(
        f"it has {found}, but its report is about a video with {expected}. Use this video's own "
        "report. If an earlier version wrote that one, process the video again."
    )
