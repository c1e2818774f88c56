"""What the engine can't do. Every message is a sentence for the person whose video or picture it is."""


class EngineError(Exception):
    """Base of all of the engine's errors. `code` is a short constant for programs."""

    code = "engine"


class VideoError(EngineError):
    """The input is not a video that can be done: not a video at all, empty, cut off, or without a picture."""

    code = "not-a-video"


class PictureError(EngineError):
    """A target or replacement picture can't be used: unreadable, no face, several faces, too small a face."""

    code = "bad-picture"


class CheckError(EngineError):
    """The result does not match its source frame for frame: it must not be published."""

    code = "check-failed"


class QuarantinedError(EngineError):
    """The check of the result found a face that is visible after it was masked: the result must not be published."""

    code = "quarantined"


class OutputError(EngineError):
    """The result could not be encoded or written: a full disk, or a fault of this machine. Trying again may help."""

    code = "output"


class WeightsError(EngineError):
    """A model's weights could not be had, or are not the ones that were pinned."""

    code = "weights"


class MissingPackageError(EngineError):
    """A setting needs a package that is not installed. Without a change of either, no retry helps."""

    code = "missing-package"


class GpuError(EngineError):
    """A GPU was asked for, and PyTorch can't use one here."""

    code = "gpu"
