"""Target pictures on disk: one file or folder for each person, or a folder of people."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from defacer.by_products import is_by_product
from defacer.engine.errors import ArgumentError, PictureError
from defacer.engine.recognition.gallery import Picture
from defacer.picture_formats import HEAD_BYTES, NAMES, content_type_of
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


def find_people(
    paths: Sequence[Path], folder: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> list[PictureFile]:
    """Return the pictures of one person for each path, and those in a folder of people.

    A path is a picture, or a folder with pictures of one person. Its name is the person's. `folder` has the layout of a
    channel: `PERSON.jpg` and `PERSON/*`. Raise ArgumentError for a path without pictures, for a file that is not a
    picture or not in the folder of a person, and for two people of one name. `say` gets the ignored by-products.
    """
    people = [(_person_of(path), _files_of_person(path, say)) for path in paths]
    if folder is not None:
        people += _people_in(folder, say)
    _require_distinct(person for person, _ in people)
    return [PictureFile(person, file) for person, files in people for file in files]


def _files_of_person(path: Path, say: Callable[[str], None]) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise ArgumentError(
                f"{printable(str(path))} does not exist. Name a picture, or a folder with pictures."
            )
        return [path]
    found = _pictures(path, say)
    if not found:
        raise ArgumentError(
            f"The folder {printable(str(path))} has no pictures of a person. Use {NAMES} files. For a folder of "
            "several people, use --keep-people."
        )
    return found


def _people_in(folder: Path, say: Callable[[str], None]) -> list[tuple[str, list[Path]]]:
    if not folder.is_dir():
        raise ArgumentError(f"{printable(str(folder))} is not a folder. Use --keep for a picture.")
    found: dict[str, list[Path]] = {}
    for path in _entries(folder, say):
        if path.is_dir():
            files = _pictures(path, say)
        else:
            _require_picture(path)
            files = [path]
        if files:
            found.setdefault(_person_of(path), []).extend(files)
    if not found:
        raise ArgumentError(
            f"The folder {printable(str(folder))} has no pictures. Put pictures there, as PERSON.jpg or "
            f"PERSON/1.jpg. Allowed are {NAMES}."
        )
    return list(found.items())


def _pictures(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Return the files of one person's folder."""
    found = _entries(folder, say)
    for path in found:
        _require_picture(path)
    return found


def _entries(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Return the files and folders in a folder without by-products."""
    found = sorted(folder.iterdir())
    if ignored := [path.name for path in found if is_by_product(path.name)]:
        say(f"ignored in {printable(str(folder))}: {printable(', '.join(ignored))}")
    return [path for path in found if path.name not in ignored]


def _require_picture(path: Path) -> None:
    """Raise ArgumentError for a file that would hide its person, because it is not a picture of them."""
    label = printable(str(path))
    if not path.is_file():
        raise ArgumentError(
            f"{label} is not in the folder of a person. Put pictures into PERSON/, or remove it."
        )
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if content_type_of(head) is None or path.name.startswith("."):
        raise ArgumentError(f"{label} is not a picture of a person. Use {NAMES} files, or remove it.")


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
