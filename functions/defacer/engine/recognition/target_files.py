"""Target pictures on disk: one file or folder for each person, or a folder of people."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from defacer.engine.errors import ArgumentError, PictureError
from defacer.engine.recognition.gallery import Picture
from defacer.picture_formats import NAMES, SUFFIXES
from defacer.plurals import printable

MAX_PICTURE_BYTES = 100 * 1024 * 1024  # a photo of 50 megapixels as PNG


@dataclass(frozen=True)
class PictureFile:
    """A picture of a target on disk."""

    person: str
    path: Path

    def read(self) -> Picture:
        """Return the picture. Raise PictureError for a file that is too large."""
        label = printable(str(self.path))
        size = self.path.stat().st_size
        if size > MAX_PICTURE_BYTES:
            raise PictureError(
                f"{label} has {size} bytes, at most {MAX_PICTURE_BYTES} are allowed. Use a smaller picture."
            )
        return Picture(self.person, label, self.path.read_bytes())


def find_people(paths: Sequence[Path], folder: Path | None = None) -> list[PictureFile]:
    """Return the pictures of one person for each path, and those in a folder of people.

    A path is a picture, or a folder with pictures of one person. Its name is the person's. `folder` has the layout of a
    channel: `PERSON.jpg` and `PERSON/*`. Raise ArgumentError for a path without pictures, and for two people of one
    name.
    """
    people = [(_person_of(path), _files_of_person(path)) for path in paths]
    if folder is not None:
        people += _people_in(folder)
    _require_distinct(person for person, _ in people)
    return [PictureFile(person, file) for person, files in people for file in files]


def _files_of_person(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise ArgumentError(
                f"{printable(str(path))} does not exist. Name a picture, or a folder with pictures."
            )
        return [path]
    found = _pictures(path)
    if not found:
        raise ArgumentError(
            f"The folder {printable(str(path))} has no pictures of a person. Use {NAMES} files. For a folder of "
            "several people, use --keep-people."
        )
    return found


def _people_in(folder: Path) -> list[tuple[str, list[Path]]]:
    if not folder.is_dir():
        raise ArgumentError(f"{printable(str(folder))} is not a folder. Use --keep for a picture.")
    found: dict[str, list[Path]] = {}
    for path in _visible(folder):
        if files := _pictures(path) if path.is_dir() else [path] * _is_picture(path):
            found.setdefault(_person_of(path), []).extend(files)
    if not found:
        raise ArgumentError(
            f"The folder {printable(str(folder))} has no pictures. Put pictures there, as PERSON.jpg or "
            f"PERSON/1.jpg. Allowed are {NAMES}."
        )
    return list(found.items())


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if _is_picture(path)]


def _visible(folder: Path) -> list[Path]:
    """Return the entries, without hidden ones: a Mac adds `._1.jpg` to `1.jpg` on some drives."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _person_of(path: Path) -> str:
    whole = path.resolve() if path.name in ("", "..") else path
    name = unicodedata.normalize("NFC", whole.name if path.is_dir() else whole.stem)
    if printable(name) != name:
        raise ArgumentError(
            f"{printable(str(path))} names a person, but its name has unprintable characters. Rename it."
        )
    return name


def _require_distinct(people: Iterable[str]) -> None:
    known = set()
    for person in people:
        if person in known:
            raise ArgumentError(
                f"Two people are called {person}. Put several pictures of one person into a folder, and rename the "
                "files of different people."
            )
        known.add(person)
