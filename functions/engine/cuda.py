"""What an NVIDIA GPU is there for: the networks, decoding (NVDEC) and encoding (NVENC). Without one all is quiet."""

import ctypes
from functools import cache

import av
from av.codec.hwaccel import HWAccel


@cache
def has_driver() -> bool:
    """Whether there is an NVIDIA driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@cache
def has_cuda() -> bool:
    """PyTorch is asked, and so loaded (0.3 GB, some seconds), only where there is a driver."""
    if not has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def hardware_decoder() -> HWAccel | None:
    """NVDEC, if it is there; it hands a codec that it does not know to FFmpeg's own decoder."""
    return HWAccel("cuda", allow_software_fallback=True) if _can_decode() else None


@cache
def can_encode(width: int, height: int, pixel_format: str) -> bool:
    """Whether NVENC takes pictures of this size and format: it needs a GPU that has it, and even sides."""
    if not has_driver():
        return False
    context = av.VideoCodecContext.create("h264_nvenc", "w")
    context.width, context.height, context.pix_fmt = width, height, pixel_format
    try:
        context.open()
    except av.error.FFmpegError:
        return False
    return True


@cache
def _can_decode() -> bool:
    """A driver alone is not enough: in a container the video parts of it have to be let in."""
    if not has_driver():
        return False
    try:
        av.CodecContext.create("h264", "r", hwaccel=HWAccel("cuda"))
    except (av.error.FFmpegError, NotImplementedError, RuntimeError):
        return False
    return True
