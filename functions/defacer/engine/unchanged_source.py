"""Detect that a video was replaced or changed during a run: its faces would be those of another picture.

Each pass opens the video by its path, and reads it from the beginning.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from defacer.engine.errors import CheckError, EngineError


@contextmanager
def unchanged(video: Path) -> Iterator[Callable[[], None]]:
    """Yield a function that raises CheckError if another file, or other data, is at the path by now.

    An EngineError in the block becomes this error, too, if the file has changed.
    """
    before = _version(video)

    def require_unchanged() -> None:
        if _version(video) != before:
            raise CheckError(
                "it was changed, replaced or deleted during the run, so nothing was written. Process it again when no "
                "other program writes it."
            )

    try:
        yield require_unchanged
    except EngineError:
        require_unchanged()
        raise


def _version(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
