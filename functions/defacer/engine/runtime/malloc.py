"""Limit how much free memory glibc's allocator keeps. On other systems these functions do nothing."""

import ctypes

M_ARENA_MAX = -8  # of malloc.h
MAX_ARENAS = 2


def limit_malloc_arenas() -> None:
    """Make all threads allocate from the same two heaps (arenas).

    By default a new thread can get an arena of its own, and memory freed in one arena does not serve the others. That
    costs 100 MB, and 8 % more memory for a video that is ten times as long. With two arenas the engine is as fast,
    because its threads allocate whole frames and few small blocks.
    """
    _call_libc("mallopt", M_ARENA_MAX, MAX_ARENAS)


def trim_heap() -> None:
    """Return free memory inside the heap to the system, because it grows with the length of the video."""
    _call_libc("malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    try:
        process = ctypes.CDLL(None)
    except TypeError:  # Windows has no library with all functions of the process
        return
    if function := getattr(process, name, None):
        function(*arguments)
