"""Check the paths of outputs before any work begins, and replace files, so that no file is lost."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from defacer.engine.errors import ArgumentError, EngineError


class OutputPathError(ArgumentError):
    """An output can't be written to the path that the caller named; the message says what to do."""


def check_outputs(
    outputs: Sequence[Path],
    inputs: Iterable[Path],
    *,
    force: bool,
    option: str = "--force",
    new_folders: Collection[Path] = (),
) -> None:
    """Raise OutputPathError if writing an output would fail or destroy a file.

    An existing file is refused unless `force` is set, which the user does with `option`. A file that is also an input
    is always refused, under any name: `samefile` follows symbolic links and detects hard links. `new_folders` will be
    created.
    """
    sources = list(inputs)
    for number, path in enumerate(outputs):
        if path.is_dir():
            raise OutputPathError(f"{path} is a folder. Name a file to write.")
        if path.parent not in new_folders and not path.parent.is_dir():
            raise OutputPathError(
                f"The folder {path.parent} for {path.name} does not exist. Create it first."
            )
        if any(_is_same_file(path, source) for source in sources):
            raise OutputPathError(f"{path} is also an input and would be overwritten. Name another file.")
        if any(_is_same_file(path, other) or _fold(path) == _fold(other) for other in outputs[:number]):
            raise OutputPathError(f"{path} is named for two outputs. Name a file for each.")
        if not force and os.path.lexists(path):
            raise OutputPathError(f"{path} already exists. Name another file, or add {option} to replace it.")


def move_result(result: Path, out: Path, *, force: bool) -> None:
    """Move a complete file to `out`. Without `force`, raise EngineError if a file has appeared there."""
    if force:
        result.replace(out)
        return
    try:
        try:
            os.link(result, out)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            out.open("xb").close()
            result.replace(out)
    except FileExistsError as error:
        raise EngineError(
            f"{out} was created by another program during the run. Name another file, or add --force to replace it."
        ) from error


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix, which replaces `path` when the block ends without an error."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_same_file(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _fold(path: Path) -> str:
    """Return the path without the difference of case, which the file systems of Windows and macOS ignore."""
    return str(path.resolve()).casefold()
