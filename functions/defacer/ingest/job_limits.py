"""The limits of a job, which are checked before it is planned. They are settings (README.md)."""

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import VideoName

MAX_SIDE = 16_384  # the encoders' own limit


def require_name(source: ObjectRef, video: VideoName) -> None:
    """Raise PermanentError if the name of the video does not allow a result."""
    if video.problem:
        raise PermanentError(
            ErrorCode.BAD_NAME,
            f"{object_names.owner_name(source.name)} can't be processed: {video.problem}. "
            "Upload it under another name.",
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
    """Raise PermanentError for a video that is longer, or has larger frames, than allowed."""
    seconds, allowed = header.duration_seconds, settings().max_video_seconds
    if seconds is not None and seconds > allowed:
        raise _exceeded(
            source,
            ErrorCode.TOO_LONG,
            f"has {seconds:.0f} s by its header, at most {allowed:.0f} s are allowed",
            "Cut it into parts, or export it again if it is shorter",
        )
    pixels = settings().max_frame_pixels
    if header.width * header.height > pixels or max(header.width, header.height) > MAX_SIDE:
        raise _exceeded(
            source,
            ErrorCode.TOO_LARGE,
            f"has frames of {header.width}x{header.height}, at most {pixels} pixels and {MAX_SIDE} per side "
            "are allowed",
            "Export it smaller",
        )


def _exceeded(source: ObjectRef, code: ErrorCode, problem: str, advice: str) -> PermanentError:
    return PermanentError(code, f"{object_names.owner_name(source.name)} {problem}. {advice}.")
