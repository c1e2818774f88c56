"""Keep what glibc's allocator holds from growing with the length of a video. Elsewhere nothing is done."""

import ctypes
from typing import Any

M_ARENA_MAX = -8  # of malloc.h
ARENAS = 2


def limit_malloc_arenas() -> None:
    """Let all threads allocate from the same two heaps.

    Else each thread that comes and goes may get one of its own, and what is freed in one does not serve the others:
    100 MB more here, and 8 % more for ten times the video. At ours, where threads allocate frames and no crumbs,
    it costs no time.
    """
    _call("mallopt", M_ARENA_MAX, ARENAS)


def trim_heap() -> None:
    """Return what lies free between what is in use: else there is the more of it, the longer a video goes on."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> Any:
    function = getattr(ctypes.CDLL(None), name, None)
    return function and function(*arguments)
