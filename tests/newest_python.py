"""Print a CPython of this machine and its series: python -m tests.newest_python [SERIES].

Without a series, such as 3.12, the script prints the newest supported Python if it is newer than the running one. The
script prints nothing if it finds none. It searches PATH and pyenv's versions.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Fails where no virtual environment can be created, as on Debian without python3-venv.
DESCRIBE = (
    "import ensurepip, sys, venv; "
    "print(sys.implementation.name, sys.version_info.releaselevel, *sys.version_info[:3], sys.executable)"
)


@dataclass(frozen=True, order=True)
class Python:
    """A final release of CPython."""

    version: tuple[int, int, int]
    path: str

    @property
    def series(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


def supported_series() -> set[str]:
    """Return the series in the package metadata, such as "3.12"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {text.rpartition(" :: ")[2] for text in project["classifiers"]}


def find_newest(folders: Iterable[Path], series: Collection[str]) -> Python | None:
    """Return the newest Python of these series in these folders, or None."""
    found = (_describe(path) for path in _candidates(folders))
    return max((python for python in found if python and python.series in series), default=None)


def newer_series(running: tuple[int, int]) -> set[str]:
    """Return the supported series that are newer than the series `running`."""
    return {series for series in supported_series() if tuple(map(int, series.split("."))) > running}


def _candidates(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted({*folder.glob("python3"), *folder.glob("python3.[0-9]*[0-9]")})


def _describe(path: Path) -> Python | None:
    try:
        answer = subprocess.run(
            [path, "-c", DESCRIBE], capture_output=True, text=True, timeout=60, check=True
        )
    except (
        OSError,
        subprocess.SubprocessError,
    ):  # such as a shim of pyenv for a version that is not selected
        return None
    name, level, *version, executable = answer.stdout.strip().split(" ", 5)
    if (name, level) != ("cpython", "final"):
        return None
    major, minor, micro = map(int, version)
    return Python((major, minor, micro), executable)


def main() -> None:
    """Print the newest Python of these series in PATH and in pyenv's versions."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(Path, os.environ.get("PATH", "").split(os.pathsep)), *pyenv.glob("versions/*/bin")]
    if python := find_newest(folders, sys.argv[1:] or newer_series(sys.version_info[:2])):
        print(python.series, python.path)


if __name__ == "__main__":
    main()
