"""A video with the corrections of its times, as all readers open it."""

from dataclasses import dataclass
from typing import BinaryIO

from defacer.report.clock import Clock


@dataclass(frozen=True)
class ClockedSource:
    """A path or file with the corrections of its times."""

    file: str | BinaryIO
    clock: Clock


Source = str | BinaryIO | ClockedSource


def file_of(source: Source) -> str | BinaryIO:
    """Return the path or file of a source."""
    return source.file if isinstance(source, ClockedSource) else source


def clock_of(source: Source) -> Clock:
    """Return the corrections of a source's times."""
    return source.clock if isinstance(source, ClockedSource) else Clock()
