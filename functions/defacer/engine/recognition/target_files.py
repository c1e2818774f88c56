"""Target pictures on disk: one file or folder for each person, or a folder of people."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from defacer.engine.errors import PictureError
from defacer.engine.recognition.gallery import Picture
from defacer.picture_formats import NAMES, SUFFIXES
from defacer.plurals import printable

MAX_PICTURE_BYTES = 100 * 1024 * 1024  # a photo of 50 megapixels as PNG


def read_people(paths: Sequence[Path]) -> list[Picture]:
    """Return the pictures of one person for each path: a picture, or a folder with pictures of that person.

    The name of the file or folder names the person. Raise PictureError for a folder without pictures, and for two
    people of one name.
    """
    people = [(_person_of(path), _pictures_in(path) if path.is_dir() else [path]) for path in paths]
    _require_distinct(people)
    return [_read(person, file) for person, files in people for file in files]


def read_people_folder(folder: Path) -> list[Picture]:
    """Return the pictures in a folder with the layout of a channel: `PERSON.jpg` and `PERSON/*`.

    Raise PictureError if it has none.
    """
    entries = _visible(folder)
    found = [(_person_of(path), path) for path in entries if path.is_file() and _is_picture(path)]
    found += [(_person_of(path), file) for path in entries if path.is_dir() for file in _pictures(path)]
    if not found:
        raise PictureError(
            f"The folder {printable(str(folder))} has no pictures. Put pictures there, as PERSON.jpg or "
            f"PERSON/1.jpg. Allowed are {NAMES}."
        )
    return [_read(person, file) for person, file in found]


def _pictures_in(folder: Path) -> list[Path]:
    found = _pictures(folder)
    if not found:
        raise PictureError(
            f"The folder {printable(str(folder))} has no pictures of a person. Use {NAMES} files. For a folder of "
            "several people, use --keep-people."
        )
    return found


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_file() and _is_picture(path)]


def _visible(folder: Path) -> list[Path]:
    """Return the entries, without hidden ones: a Mac adds `._1.jpg` to `1.jpg` on some drives."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _person_of(path: Path) -> str:
    whole = path.resolve() if path.name in ("", "..") else path
    name = unicodedata.normalize("NFC", whole.name if path.is_dir() else whole.stem)
    if not name.isprintable():
        raise PictureError(
            f"{printable(str(path))} names a person, but its name has unreadable characters. Rename it."
        )
    return name


def _require_distinct(people: Iterable[tuple[str, object]]) -> None:
    names = [name for name, _ in people]
    for name in names:
        if names.count(name) > 1:
            raise PictureError(
                f"Two people are called {name}. Put several pictures of one person into a folder, and rename the files "
                "of different people."
            )


def _read(person: str, path: Path) -> Picture:
    label = printable(str(path))
    size = path.stat().st_size
    if size > MAX_PICTURE_BYTES:
        raise PictureError(
            f"{label} has {size} bytes, at most {MAX_PICTURE_BYTES} are allowed. Use a smaller picture."
        )
    return Picture(person, label, path.read_bytes())
