"""Measure how many times as fast as two cores a GPU runs the networks: `python -m tests.benchmarks.networks`.

The result is `gpu_networks` of `infra/capacity/inputs.toml`, which was never measured. Without a GPU, only the times of
two cores are printed.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from defacer.engine.models import openvino_backend, weights
from defacer.engine.models.arrays import Image
from defacer.engine.runtime import gpu
from defacer.engine.runtime.prefetch import usable_threads
from tests.benchmarks.machine import use_cores

CALLS = 60
# The samples of a window and the faces of one, and each network's seconds in the profile of tests/benchmarks/README.md.
CENTERFACE = ("CenterFace, 640x384", weights.centerface, "CenterFaceNetwork", (3, 384, 640, 3), 16.74)
SFACE = ("SFace", weights.sface, "SFaceNetwork", (2, 112, 112, 3), 10.88)


def time_picture(network: Callable[[Image], Any], shape: tuple[int, ...]) -> float:
    """Return the milliseconds per picture, where the engine's threads call the network at the same time."""
    pictures = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    with ThreadPoolExecutor(usable_threads()) as pool:
        list(pool.map(network, [pictures] * 2 * usable_threads()))  # compile first
        start = time.perf_counter()
        list(pool.map(network, [pictures] * CALLS))
        return 1000 * (time.perf_counter() - start) / CALLS / shape[0]


def main() -> None:
    """Print the times of both networks, and their common speed-up."""
    allowed, before, after = os.sched_getaffinity(0), 0.0, 0.0
    for name, load, network, shape, seconds in (CENTERFACE, SFACE):
        use_cores(2)
        on_cpu = getattr(openvino_backend, network)(load(), openvino_backend.fastest_precision())
        cpu = time_picture(on_cpu, shape)
        os.sched_setaffinity(0, allowed)
        print(f"{name}: {cpu:.2f} ms a picture on two cores")
        if gpu.has_cuda():
            from defacer.engine.models import torch_backend

            found = time_picture(getattr(torch_backend, network)(load(), "cuda"), shape)
            print(f"{name}: {found:.2f} ms a picture on the GPU, {cpu / found:.1f} times as fast")
            before, after = before + seconds, after + seconds * found / cpu
    print(
        f"gpu_networks: {before / after:.1f}" if after else f"gpu_networks: unknown. GPU: {gpu.describe()}."
    )


if __name__ == "__main__":
    main()
