"""Limit how much free memory glibc's allocator keeps. On other systems these functions do nothing."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
MAX_ARENAS = 2
MAX_HEAP_BLOCK = 8 * 2**20  # bytes: frames of 4K are larger, those of 1080p are smaller
MAX_FREE_TOP = 2 * MAX_HEAP_BLOCK  # bytes


def limit_heap() -> None:
    """Make all threads allocate from the same two heaps (arenas), except large blocks.

    By default a new thread can get an arena of its own, and memory freed in one arena does not serve the others. That
    costs 100 MB, and 8 % more memory for a video that is ten times as long. With two arenas the engine is as fast,
    because its threads allocate whole frames and few small blocks.

    By default glibc raises the size of the blocks that it takes from a heap, up to 32 MB. Freed frames of 4K then leave
    gaps in a heap, which cost 160 MB.
    """
    _call_libc("mallopt", M_ARENA_MAX, MAX_ARENAS)
    _call_libc("mallopt", M_MMAP_THRESHOLD, MAX_HEAP_BLOCK)
    _call_libc("mallopt", M_TRIM_THRESHOLD, MAX_FREE_TOP)


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
