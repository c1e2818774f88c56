"""Estimate the duration of a benchmark run, which is printed first."""

from collections.abc import Iterable

from tests.benchmarks.parts import GROWTH, GROWTH_SECONDS, MEMORY_SECONDS, Works

CLIPS, CLIP_SECONDS = 11, 8
# Rough seconds per second of 1280x720 on two cores, and for loading.
OURS, PLAIN, DEFACE, OF_2019, MAKING, LOADING = 0.8, 0.3, 2.0, 4.5, 0.5, 4.0
DROP, EMULATOR, LIVE = 10, 20, 4 * 30  # seconds of video, and of the run
LARGE = 9  # times the pixels in 3840x2160


def estimate_minutes(parts: Iterable[str], works: Works, pairs: int) -> float:
    whole = CLIPS * (works.whole.seconds or CLIP_SECONDS)
    short = CLIPS * (works.short.seconds or CLIP_SECONDS)
    one = CLIPS * min(GROWTH_SECONDS, works.seconds or GROWTH_SECONDS)
    still = CLIPS * min(MEMORY_SECONDS, works.seconds or MEMORY_SECONDS)
    seconds = {
        "transcode": whole * MAKING + pairs * (whole * (OURS + PLAIN) + LOADING),
        "deface": short * MAKING + pairs * (short * (OURS + DEFACE) + 2 * LOADING),
        "2019": short * MAKING + pairs * (short * (OURS + OF_2019) + 2 * LOADING),
        "check": whole * MAKING + pairs * (2 * whole * OURS + 2 * LOADING),
        "growth": one * (1 + GROWTH) * MAKING + pairs * (one * (1 + GROWTH) * OURS + 2 * LOADING),
        "memory": still * (1 + LARGE) * (MAKING + OURS),
        "emulator": DROP * MAKING + pairs * (2 * DROP * OURS + 4 * LOADING) + EMULATOR,
        "live": LIVE,
        "sizes": CLIPS * (CLIP_SECONDS * OURS + LOADING),
        "profile": whole * OURS + LOADING,
    }
    return sum(seconds[part] for part in parts) / 60
