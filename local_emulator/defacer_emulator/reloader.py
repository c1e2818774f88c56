"""Start the functions and pages of a running emulator again when their code changes (`up --reload`)."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from defacer_emulator.emulator import CONSOLE, FUNCTIONS_FOLDER, LIVE, Emulator

SCAN_SECONDS = 0.5
CODE_SUFFIXES = (".py", ".html", ".css", ".js", ".svg")
# Folders whose code no function and no page imports.
UNUSED_FOLDERS = ("commands",)

Versions = dict[Path, tuple[int, int]]  # modification time in ns and size, by file


class CodeWatcher:
    """Finds changed files in some folders by their modification times and sizes."""

    def __init__(self, folders: Iterable[Path]):
        self._folders = tuple(dict.fromkeys(folders))
        self._known = self._latest = self._scan()

    def find_changed(self) -> set[Path]:
        """Return the files that changed since they were last returned, once two scans in a row find the same."""
        now = self._scan()
        if now != self._latest:
            self._latest = now
            return set()
        changed = {path for path, _ in now.items() ^ self._known.items()}
        self._known = now
        return changed

    def _scan(self) -> Versions:
        return {
            Path(folder, name): (status.st_mtime_ns, status.st_size)
            for root in self._folders
            for folder, _, names in os.walk(root)
            for name in names
            if name.endswith(CODE_SUFFIXES) and (status := _status_of(Path(folder, name))) is not None
        }


def _status_of(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # an editor has replaced it since
        return None


class Reloader:
    """Starts programs again. Requests end first, and Pub/Sub delivers the messages of the meantime again."""

    def __init__(self, emulator: Emulator):
        self._emulator = emulator
        self._roots = (emulator.options.functions, FUNCTIONS_FOLDER)
        self._watcher = CodeWatcher(self._roots)
        self._stopping: list[str] = []
        self._started: list[str] = []
        self._next_scan = 0.0

    def reload_changed(self) -> Iterator[str]:
        """Restart the programs whose code changed since the last call, and yield a line about each step."""
        if time.monotonic() > self._next_scan:
            self._next_scan = time.monotonic() + SCAN_SECONDS
            for name in self._find_affected(self._watcher.find_changed()):
                if name not in self._stopping:
                    yield f"The code of {name} has changed. It starts again after its current requests."
                    self._emulator.processes.stop(name)
                    self._stopping.append(name)
        for name in list(self._stopping):
            if self._emulator.restart(name):
                self._stopping.remove(name)
                self._started.append(name)
                yield f"Started {name} again."
        for name in list(self._started):
            if name not in self._stopping and self._emulator.processes.exit_code(name) is not None:
                self._started.remove(name)
                yield f"{name} has ended. Correct its code: it starts again at the next change."

    def _find_affected(self, changed: set[Path]) -> list[str]:
        """Return the programs that use one of these files."""
        programs = {function.name for function in self._emulator.resources.functions} | {CONSOLE, LIVE}
        affected = {name for path in changed for name in self.find_users(path, programs)}
        return [name for name in self._emulator.processes.names() if name in affected]

    def find_users(self, path: Path, programs: set[str]) -> set[str]:
        """Return the programs that can import this file: no function imports another one's modules."""
        root = next(root for root in self._roots if path.is_relative_to(root))
        folder, *below = path.relative_to(root).parts
        if folder in UNUSED_FOLDERS:
            return set()
        if folder == "web":
            return {below[0]} & programs or {CONSOLE, LIVE}
        return {folder} & programs or programs
