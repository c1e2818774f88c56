"""What a job may be at most: checked before anything is planned. The limits are settings (README.md)."""

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import VideoName

MAX_SIDE = 16_384  # the encoders take no more


def require_name(source: ObjectRef, video: VideoName) -> None:
    """Raise PermanentError if results can't be named after this video."""
    if video.problem:
        raise PermanentError(
            ErrorCode.BAD_NAME,
            f"{object_names.owner_name(source.name)} can't be processed: {video.problem}. "
            "Upload it under another name.",
        )


def require_size(source: ObjectRef, size: int) -> None:
    """Raise PermanentError for a file of more bytes than are allowed, or than merge can join in its time."""
    allowed = settings().max_video_bytes
    if size > allowed:
        raise _beyond(
            source,
            ErrorCode.TOO_LARGE,
            f"has {size} bytes, at most {allowed} are allowed",
            "Cut it into parts",
        )
    deadline = settings().deadline_seconds
    seconds = size / (settings().merge_megabytes_per_second * 1e6)
    if seconds > deadline:
        raise _beyond(
            source,
            ErrorCode.TOO_LARGE,
            f"has {size} bytes: to join so much takes some {seconds:.0f} s, and {deadline:g} s are allowed",
            "Cut it into parts",
        )


def require_header(source: ObjectRef, header: VideoHeader) -> None:
    """Raise PermanentError for a video that is longer, or has larger frames, than is allowed."""
    seconds, allowed = header.duration_seconds, settings().max_video_seconds
    if seconds is not None and seconds > allowed:
        raise _beyond(
            source,
            ErrorCode.TOO_LONG,
            f"lasts {seconds:.0f} s by its header, at most {allowed:.0f} s are allowed",
            "Cut it into parts, or, if it is not that long, export it again",
        )
    pixels = settings().max_frame_pixels
    if header.width * header.height > pixels or max(header.width, header.height) > MAX_SIDE:
        raise _beyond(
            source,
            ErrorCode.TOO_LARGE,
            f"has frames of {header.width}x{header.height}, at most {pixels} pixels and {MAX_SIDE} a side are allowed",
            "Export it smaller",
        )


def _beyond(source: ObjectRef, code: ErrorCode, what: str, advice: str) -> PermanentError:
    return PermanentError(code, f"{object_names.owner_name(source.name)} {what}. {advice}.")
