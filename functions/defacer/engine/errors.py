"""The engine's errors. Every message is a sentence for the person whose video or picture it is."""

from enum import StrEnum

NO_FRAME = "it shows no frame that can be decoded. Export the video again."
NO_VIDEO = "it is a picture, not a video. Use a video, such as an MP4."


class EngineErrorCode(StrEnum):
    """The code of an `EngineError`: a short constant for programs."""

    ENGINE = "engine"
    NOT_A_VIDEO = "not-a-video"
    TOO_FEW_KEY_FRAMES = "too-few-key-frames"
    UNSUPPORTED_SOUND = "unsupported-sound"
    BAD_PICTURE = "bad-picture"
    CHECK_FAILED = "check-failed"
    QUARANTINED = "quarantined"
    OUTPUT = "output"
    WEIGHTS = "weights"
    MISSING_PACKAGE = "missing-package"
    GPU = "gpu"


class EngineError(Exception):
    """Base class of the engine's errors."""

    code = EngineErrorCode.ENGINE


class ArgumentError(EngineError):
    """An option has a value that is not allowed, or a file is named that can't be used. Nothing was done."""


class VideoError(EngineError):
    """The input can't be processed as a video: it is another kind of file, empty, truncated, or without pictures."""

    code = EngineErrorCode.NOT_A_VIDEO


class TooFewKeyFramesError(VideoError):
    """The video has so few key frames that each part of it would be decoded from the beginning of the file."""

    code = EngineErrorCode.TOO_FEW_KEY_FRAMES


class SoundError(VideoError):
    """The sound can't be decoded, or must be converted although the options forbid it."""

    code = EngineErrorCode.UNSUPPORTED_SOUND


class PictureError(EngineError):
    """A target or replacement picture can't be used: unreadable, no face, several faces, or too small a face."""

    code = EngineErrorCode.BAD_PICTURE


class CheckError(EngineError):
    """The result does not match its source frame for frame, so it must not be published."""

    code = EngineErrorCode.CHECK_FAILED


class QuarantinedError(EngineError):
    """The check found a face that is still visible after it was masked, so the result must not be published."""

    code = EngineErrorCode.QUARANTINED


class OutputError(EngineError):
    """The result can't be encoded or written: the disk is full, or this machine has a fault. A retry can help."""

    code = EngineErrorCode.OUTPUT


class WeightsError(EngineError):
    """A model's weights can't be fetched, or differ from the pinned ones."""

    code = EngineErrorCode.WEIGHTS


class MissingPackageError(EngineError):
    """A setting needs a package that is not installed. No retry helps until one of them changes."""

    code = EngineErrorCode.MISSING_PACKAGE


class GpuError(EngineError):
    """A GPU is required, and PyTorch can't use one on this machine."""

    code = EngineErrorCode.GPU
