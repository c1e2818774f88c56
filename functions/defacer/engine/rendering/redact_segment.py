"""The second pass over a segment: decode at full size, redact, encode.

It needs no model, because the face report contains all boxes and decisions. A check can search the frames before they
are encoded.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

import av

from defacer.engine.errors import CheckError
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.media.display.picture_form import FormConverter
from defacer.engine.media.encoding import Encoding, encoding_of
from defacer.engine.media.h264.access_units import NotCopyableError
from defacer.engine.media.h264.copied_stream import CopiedStream, find_copied_stream
from defacer.engine.media.h264.group_copier import GroupCopier
from defacer.engine.media.h264.source_groups import SourceGroups
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.media.readback import Readback
from defacer.engine.media.reader import LARGE_PIXELS, Segment, read_frames
from defacer.engine.media.segment_writer import WrittenSegment, write_segment
from defacer.engine.options import Options
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.manual_masks import ManualMasks
from defacer.engine.rendering.mask_extension import MaskExtension
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Openings, Style, redact_boxes, redact_rectangles
from defacer.engine.runtime.malloc import limit_heap, trim_heap
from defacer.engine.runtime.prefetch import limit_opencv, prefetch
from defacer.report.compact_boxes import Box
from defacer.report.faces import Faces

_log = logging.getLogger(__name__)
# Frames that are redacted while the encoder works. Following faces takes as long as encoding ten frames of a new shot.
# Small frames can wait for that: as many as have AHEAD_PIXELS.
MIN_FRAMES_AHEAD, MAX_FRAMES_AHEAD, AHEAD_PIXELS = 1, 16, 8 * 1280 * 720
TRIM_INTERVAL = 4  # large frames. Their free blocks stay in the heap


class FrameCheck(Protocol):
    """A check of redacted frames before they are encoded. `masks` are the boxes that were drawn before it."""

    masks: DrawnMasks

    def check_frames(
        self, frames: Iterable[av.VideoFrame], orientation: Orientation
    ) -> Iterator[tuple[av.VideoFrame, list[Box], Openings]]:
        """Yield each frame, in order, with further boxes to redact, and the openings in their masks."""


def redact_segment(
    segment: Segment,
    faces: Faces,
    out: str,
    options: Options,
    replacement: bytes | None = None,
    progress: Callable[[int], None] = lambda _: None,
    drawn: DrawnMasks | None = None,
    check: FrameCheck | None = None,
    readback: Readback | None = None,
) -> WrittenSegment:
    """Write the segment to the NUT file `out`, with all hidden tracks redacted.

    `progress` gets the number of encoded frames, and can raise to stop. Two threads call it, because frames are decoded
    and redacted slightly ahead of the encoder. `drawn` records the masks that are ellipses. `check` searches the frames
    before they are encoded, and `readback` compares them with the encoded ones.

    Raises VideoError for a video that cannot be processed, PictureError for a replacement picture that cannot be
    decoded, and CheckError if the faces belong to another video.
    """
    limit_heap()
    limit_opencv()
    style = _make_style(options, replacement)
    encoding = encoding_of(segment.source)
    if options.size == "any":
        encoding = replace(encoding, limit=None)
    if encoding.time_base != Fraction(faces.time_base):
        raise _wrong_video_error(
            f"times in units of {encoding.time_base} s", f"times in units of {faces.time_base} s"
        )
    copied, groups = None, None
    if options.copy_untouched:
        try:
            copied = _find_copied_stream(segment.source, encoding, options)
            groups = SourceGroups(copied, segment)
            encoding = replace(encoding, sets_number=copied.encoder_number)
        except NotCopyableError as error:
            _log.warning("copy_untouched has no effect on this video: %s", error)
    schedule, extension = MaskSchedule(faces), MaskExtension(faces, encoding.orientation)
    manual = ManualMasks(faces)
    drawn = drawn or DrawnMasks()
    black: list[int] | None = [] if options.on_decode_error == "hide" else None
    needed = extension.required_frames(segment)
    converter = FormConverter(encoding.form)
    on_packet = groups.add_packet if groups else None
    decoded = read_frames(
        segment.source, needed.start, needed.end, black, lambda: progress(0), converter, on_packet
    )

    def redact_decoded() -> Generator[av.VideoFrame]:
        masks = check.masks if check else drawn
        for frame, extensions in extension.extend_masks(_prepare(decoded, encoding, faces)):
            pts = frame.pts or 0
            if segment.contains(pts):
                boxes = [*schedule.boxes(pts), *extensions]
                masks.add(pts, boxes)
                redact_boxes(frame, boxes, style, encoding.orientation, schedule.openings(pts, extensions))
                redact_rectangles(frame, manual.at(pts), style, encoding.orientation)
                yield frame

    with (
        write_segment(out, encoding, options.quality, readback, copied) as writer,
        closing(prefetch(redact_decoded(), _frames_ahead(encoding))) as frames,
    ):
        copier = (
            GroupCopier(writer, groups, lambda: progress(0), measures=readback is not None)
            if groups
            else None
        )
        for frame, boxes, openings in _search_frames(frames, check, encoding.orientation):
            pts = frame.pts or 0
            if check:
                drawn.add(pts, [*check.masks.at(pts), *boxes])
                redact_boxes(frame, boxes, style, encoding.orientation, openings)
            if copier:
                is_original = not (drawn.at(pts) or manual.at(pts) or converter.first_fitted is not None)
                copier.write(frame, is_original=is_original)
            else:
                writer.write(frame)
            progress(writer.frames)
        if copier:
            copier.finish_group()
    return writer.result(sum(segment.contains(pts) for pts in black or ()), converter.first_fitted)


def _make_style(options: Options, replacement: bytes | None) -> Style:
    picture = None
    if options.mode == "image":
        picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
    return Style(options.mode, options.strength, options.color, picture)


def _frames_ahead(encoding: Encoding) -> int:
    fitting = AHEAD_PIXELS // (encoding.width * encoding.height)
    return min(max(MIN_FRAMES_AHEAD, fitting), MAX_FRAMES_AHEAD)


def _find_copied_stream(source: Source, encoding: Encoding, options: Options) -> CopiedStream:
    """Return how groups of the source are copied. Raises NotCopyableError if all of them have to be encoded."""
    if options.on_decode_error == "hide":
        raise NotCopyableError("damaged frames become black")
    return find_copied_stream(source, encoding)


def find_copy_obstacle(source: Source, options: Options) -> str | None:
    """Return why all groups of the source are encoded although `copy_untouched` is set, or None."""
    try:
        _find_copied_stream(source, encoding_of(source), options)
    except NotCopyableError as error:
        return str(error)
    return None


def _search_frames(
    frames: Iterable[av.VideoFrame], check: FrameCheck | None, orientation: Orientation
) -> Iterator[tuple[av.VideoFrame, list[Box], Openings]]:
    """Yield each frame with the boxes that the check adds."""
    if check is None:
        return ((frame, [], Openings()) for frame in frames)
    return check.check_frames(frames, orientation)


def _prepare(frames: Iterable[av.VideoFrame], encoding: Encoding, faces: Faces) -> Iterator[av.VideoFrame]:
    """Yield the frames in the encoder's format. Raises CheckError for a frame of another size than the report's."""
    is_large = encoding.width * encoding.height >= LARGE_PIXELS
    for number, decoded in enumerate(frames):
        if is_large and number % TRIM_INTERVAL == 0:
            trim_heap()
        frame = encoding.convert(decoded)
        width, height = encoding.orientation.displayed_size(frame.width, frame.height)
        if (width, height) != (faces.width, faces.height):
            raise _wrong_video_error(
                f"pictures of {width}x{height}", f"pictures of {faces.width}x{faces.height}"
            )
        yield frame


def _wrong_video_error(found: str, expected: str) -> CheckError:
    return CheckError(
        f"it has {found}, but its report is about a video with {expected}. Use this video's own "
        "report. If an earlier version wrote that one, process the video again."
    )
