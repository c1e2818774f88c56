"""Detect whether an NVIDIA GPU can run the networks on this machine.

Videos are decoded and encoded on the CPU of each machine: see pipeline/decisions/006-gpu-runs-networks-only.md.
"""

import ctypes
import logging
import sys
from functools import cache

from defacer.engine.errors import GpuError
from defacer.engine.runtime import torch_package

DRIVER = "libcuda.so.1"


@cache
def has_driver() -> bool:
    """Return whether an NVIDIA driver is installed."""
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
            torch_package.how_to_install(),
        )
        return False
    import torch

    return torch.cuda.is_available()


def require_gpu() -> None:
    """Raise GpuError with the reason if PyTorch can't compute on a GPU."""
    if not torch_package.is_installed():
        raise GpuError(f"A GPU is required, but PyTorch is not installed. {torch_package.how_to_install()}.")
    import torch

    problem = find_incompatibility(torch.version.cuda, driver_version())
    if problem is None and not torch.cuda.is_available():
        problem = "PyTorch fits the NVIDIA driver but finds no GPU. Check that this machine has one."
    if problem is not None:
        raise GpuError(problem)


def is_computing() -> bool:
    """Return whether the GPU of this process still computes. Return True if the process does not use one.

    After an error such as an illegal address or a lost device, each later call of the process fails
    (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html). A full memory is not such an error.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return True
    try:
        return bool(torch.ones(1, device="cuda").sum().item() == 1)
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False


def driver_version() -> int | None:
    """Return the highest CUDA version that the driver can run: 12020 is CUDA 12.2. None without a driver."""
    if not has_driver():
        return None
    version = ctypes.c_int()
    # This call needs no GPU, and no initialization, which a process forked later could not repeat.
    failed = ctypes.CDLL(DRIVER).cuDriverGetVersion(ctypes.byref(version))
    return None if failed else version.value


def describe() -> str:
    """Return whether the models run on a GPU. Decoding and encoding never do."""
    driver = driver_version()
    if driver is None:
        return "no NVIDIA driver, so the models run on the CPU"
    if not torch_package.is_installed():
        use = "not used, because PyTorch is missing (see the extra gpu)"
    else:
        use = "used for the models, not for video" if has_cuda() else "PyTorch can't use it"
    return f"NVIDIA driver for CUDA {driver // 1000}.{driver % 1000 // 10}, {use}"


def find_incompatibility(built_for: str | None, driver: int | None) -> str | None:
    """Return why a PyTorch built for this CUDA version can't use this driver; None if it can.

    `built_for` is such as "12.6", or None for a PyTorch without CUDA. Minor versions can differ:
    https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    if built_for is None:
        return (
            "This PyTorch is built without CUDA. Install a PyTorch built for CUDA, or do not require a GPU."
        )
    if driver is None:
        return (
            f"PyTorch is built for CUDA {built_for}, but no NVIDIA driver is installed. "
            "Use a machine with a GPU, or do not require one."
        )
    major, minor = driver // 1000, driver % 1000 // 10
    if int(built_for.split(".")[0]) > major:
        return (
            f"PyTorch is built for CUDA {built_for}, but the NVIDIA driver runs CUDA {major}.{minor} at most. "
            f"Install a PyTorch built for CUDA {major}."
        )
    return None
