"""Whether there is a GPU to compute on."""

import ctypes
from functools import cache


@cache
def has_cuda() -> bool:
    """PyTorch is asked, and so loaded (0.3 GB, some seconds), only where there is an NVIDIA driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
