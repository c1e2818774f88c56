"""The limits of a job, which are checked before it is planned. They are settings (README.md)."""

from collections.abc import Sequence

from defacer.pipeline import segmentation
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import TimeRange
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import VideoName

MAX_SIDE = 16_384  # the encoders' own limit
# A channel's minutes are counted by the header. A short time with many frames would cost more than it counts. A few
# frames can have any times.
MAX_FRAMES_PER_SECOND, MAX_FRAMES_IN_ANY_TIME = 1000, 60


def require_name(source: ObjectRef, video: VideoName) -> None:
    """Raise PermanentError if the name of the video does not allow a result."""
    if video.problem:
        raise PermanentError(
            ErrorCode.BAD_NAME,
            f"{object_names.owner_name(source.name)} can't be processed: {video.problem}. "
            "Upload it under another name.",
        )


def require_no_compression(source: ObjectRef, content_encoding: str | None) -> None:
    """Raise PermanentError for a video that is stored compressed: only parts of it are read, and gzip has no parts."""
    if content_encoding:
        raise PermanentError(
            ErrorCode.NOT_A_VIDEO,
            f"{object_names.owner_name(source.name)} is stored with {content_encoding} compression (Content-Encoding: "
            f"{content_encoding}), so its parts can't be read. Upload it without compression, for example with `gsutil "
            "cp` without -z, -Z, -j and -J.",
        )


def require_size(source: ObjectRef, size: int) -> None:
    """Raise PermanentError for a file that is larger than allowed, or than merge can join within its deadline."""
    allowed = settings().max_video_bytes
    if size > allowed:
        raise _exceeded(
            source,
            ErrorCode.TOO_LARGE,
            f"has {size} bytes, at most {allowed} are allowed",
            "Cut it into parts",
        )
    deadline = settings().deadline_seconds
    seconds = size / (settings().merge_megabytes_per_second * 1e6)
    if seconds > deadline:
        raise _exceeded(
            source,
            ErrorCode.TOO_LARGE,
            f"has {size} bytes, which take about {seconds:.0f} s to join; at most {deadline:g} s are allowed",
            "Cut it into parts",
        )


def require_header(source: ObjectRef, header: VideoHeader) -> None:
    """Raise PermanentError for a video that is too long, or has too many pixels in all frames or too many frames."""
    seconds, allowed = header.duration_seconds, settings().max_video_seconds
    if seconds is not None and seconds > allowed:
        raise _exceeded(
            source,
            ErrorCode.TOO_LONG,
            f"has {seconds:.0f} s by its header, at most {allowed:.0f} s are allowed",
            "Cut it into parts, or export it again if it is shorter",
        )
    if seconds is not None and (header.frames or 0) > max(
        MAX_FRAMES_IN_ANY_TIME, seconds * MAX_FRAMES_PER_SECOND
    ):
        raise _exceeded(
            source,
            ErrorCode.TOO_LARGE,
            f"has {header.frames} frames in {seconds:.3g} s, at most {MAX_FRAMES_PER_SECOND} per second are allowed",
            "Export it with fewer frames per second",
        )
    megapixels = _frames_of(header) * header.width * header.height / 1e6
    if megapixels > settings().max_video_megapixels:
        raise _exceeded(
            source,
            ErrorCode.TOO_LARGE,
            f"has about {_frames_of(header)} frames of {header.width}x{header.height}, which are "
            f"{megapixels:.0f} megapixels; at most {settings().max_video_megapixels} are allowed",
            "Cut it into parts, or export it smaller or with fewer frames per second",
        )


def require_frame_size(source: ObjectRef, width: int, height: int) -> None:
    """Raise PermanentError for frames that are larger than allowed. Call it before any frame is decoded."""
    pixels = settings().max_frame_pixels
    if width * height > pixels or max(width, height) > MAX_SIDE:
        raise _exceeded(
            source,
            ErrorCode.TOO_LARGE,
            f"has frames of {width}x{height}, at most {pixels} pixels and {MAX_SIDE} per side are allowed",
            "Export it smaller",
        )


def _frames_of(header: VideoHeader) -> int:
    """Return the number of frames, by the index or else by the duration and the frame rate of the header."""
    rate = min(header.frame_rate or segmentation.DEFAULT_FRAME_RATE, segmentation.MAX_FRAME_RATE)
    return header.frames or round((header.duration_seconds or 0) * rate)


def require_key_frames(source: ObjectRef, header: VideoHeader, segments: Sequence[TimeRange]) -> None:
    """Raise PermanentError for a video with so few key frames that its segments decode too much.

    Each segment decodes everything since the key frame before it.
    """
    cost, limits = segmentation.measure_decode_cost(header, segments), settings()
    # Before it processes a segment, a worker spends at most its share of the deadline on decoding.
    longest = segmentation.seconds_in_time(header, limits) * segmentation.DECODE_SPEED
    if cost.longest_distance > longest:
        problem = (
            f"has no key frame for {cost.longest_distance:.0f} s, with frames of {header.width}x{header.height} at "
            f"most {longest:.0f} s are allowed"
        )
    elif cost.times > limits.max_decode_times:
        problem = (
            f"has so few key frames that each frame would be decoded {cost.times:.1f} times, at most "
            f"{limits.max_decode_times:g} times are allowed"
        )
    else:
        return
    raise _exceeded(
        source, ErrorCode.TOO_FEW_KEY_FRAMES, problem, "Export it with a key frame at least every 10 s"
    )


def _exceeded(source: ObjectRef, code: ErrorCode, problem: str, advice: str) -> PermanentError:
    return PermanentError(code, f"{object_names.owner_name(source.name)} {problem}. {advice}.")
