"""What an NVIDIA GPU is there for: the networks, decoding (NVDEC) and encoding (NVENC). Without one all is quiet."""

import ctypes
import logging
from functools import cache

import av
from av.codec.hwaccel import HWAccel

from defacer.engine.errors import GpuError
from defacer.engine.runtime import torch_package

DRIVER = "libcuda.so.1"


@cache
def has_driver() -> bool:
    """Whether there is an NVIDIA driver."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


@cache
def has_cuda() -> bool:
    """Return whether PyTorch can compute on a GPU; log a warning where only PyTorch is missing.

    PyTorch is loaded (0.3 GB, some seconds) only on a machine with a driver.
    """
    if not has_driver():
        return False
    if not torch_package.is_installed():
        logging.getLogger(__name__).warning(
            "An NVIDIA driver is installed, but PyTorch is not installed: the models run on the CPU. "
            "%s to use the GPU.",
            torch_package.HOW_TO_INSTALL,
        )
        return False
    import torch

    return torch.cuda.is_available()


def require_gpu() -> None:
    """Return where PyTorch can compute on a GPU. Raises GpuError that says why it can't."""
    if not torch_package.is_installed():
        raise GpuError(f"A GPU is required, but PyTorch is not installed. {torch_package.HOW_TO_INSTALL}.")
    import torch

    problem = problem_of(torch.version.cuda, driver_version())
    if problem is None and not torch.cuda.is_available():
        problem = "There is an NVIDIA driver, and PyTorch fits it, but finds no GPU: check that this machine has one."
    if problem is not None:
        raise GpuError(problem)


def driver_version() -> int | None:
    """The highest CUDA that the driver can run: 12020 is CUDA 12.2. None without a driver."""
    if not has_driver():
        return None
    version = ctypes.c_int()
    # It needs no GPU, and no initialisation that a process forked later could not repeat.
    failed = ctypes.CDLL(DRIVER).cuDriverGetVersion(ctypes.byref(version))
    return None if failed else version.value


def problem_of(built_for: str | None, driver: int | None) -> str | None:
    """Why a PyTorch built for that CUDA ("12.6"; None: for none) can't use that driver; None if it can.

    Of one major version any will do:
    https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    if built_for is None:
        return "This PyTorch is built for no GPU: take one that is built for CUDA, or do not ask for a GPU."
    if driver is None:
        return (
            f"PyTorch is built for CUDA {built_for}, but there is no NVIDIA driver here: "
            "take a machine with a GPU, or do not ask for one."
        )
    major, minor = driver // 1000, driver % 1000 // 10
    if int(built_for.split(".")[0]) > major:
        return (
            f"PyTorch is built for CUDA {built_for}, but the NVIDIA driver here runs CUDA {major}.{minor} at most: "
            f"take a PyTorch that is built for CUDA {major}."
        )
    return None


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
