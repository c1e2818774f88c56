"""Target pictures on disk: a file or a folder for each person, or a folder of people."""

import os
import sys
from pathlib import Path

import pytest

from defacer.engine.errors import ArgumentError, PictureError
from defacer.engine.recognition import target_files
from defacer.engine.recognition.gallery import Picture
from defacer.engine.recognition.target_files import find_people

NAMES = ("me.jpg", "Ann Lee/1.HEIC", "Ann Lee/b.webp", "Zoë.avif", "Bo/picture")
BY_PRODUCTS = ("Ann Lee/._1.HEIC", "Ann Lee/Thumbs.db", ".DS_Store", "desktop.ini", "empty/.DS_Store")
JPEG = b"\xff\xd8"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of people with spaces and non-Latin letters. Each file has the start of a JPEG, then its own name."""
    root = tmp_path / "people of 東京"
    for name in (*NAMES, *BY_PRODUCTS):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + name.encode())
    return root


def read(paths: list[Path], folder: Path | None = None) -> list[Picture]:
    return [file.read() for file in find_people(paths, folder)]


def found(pictures: list[Picture]) -> list[tuple[str, str]]:
    return [(picture.person, picture.data[len(JPEG) :].decode()) for picture in pictures]


def test_file_and_folder_are_one_person_each(folder: Path) -> None:
    pictures = read([folder / "me.jpg", folder / "Ann Lee"])
    assert found(pictures) == [
        ("me", "me.jpg"),
        ("Ann Lee", "Ann Lee/1.HEIC"),
        ("Ann Lee", "Ann Lee/b.webp"),
    ]
    assert pictures[0].label == str(folder / "me.jpg")


def test_folder_of_people_has_the_layout_of_a_channel(folder: Path) -> None:
    assert sorted(found(read([], folder))) == [
        ("Ann Lee", "Ann Lee/1.HEIC"),
        ("Ann Lee", "Ann Lee/b.webp"),
        ("Bo", "Bo/picture"),
        ("Zoë", "Zoë.avif"),
        ("me", "me.jpg"),
    ]


def test_by_products_are_ignored_by_name(folder: Path) -> None:
    said: list[str] = []
    find_people([], folder, said.append)
    assert said == [
        f"ignored in {folder}: .DS_Store, desktop.ini",
        f"ignored in {folder / 'Ann Lee'}: ._1.HEIC, Thumbs.db",
        f"ignored in {folder / 'empty'}: .DS_Store",
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("notes.txt", "is not a picture of a person"),
        ("Ann Lee/notes.txt", "is not a picture of a person"),
        ("empty.jpg", "is not a picture of a person"),
        (".hidden.jpg", "is not a picture of a person"),
        ("Ann Lee/old/1.jpg", "is not in the folder of a person"),
    ],
)
def test_other_file_of_a_person_is_refused_by_name(folder: Path, name: str, problem: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(JPEG if name.endswith(("hidden.jpg", "1.jpg")) else b"")
    with pytest.raises(ArgumentError, match=problem) as refused:
        read([], folder)
    assert Path(name).parts[-2 if "old" in name else -1] in str(refused.value)


def test_current_folder_names_its_person(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "Ann Lee")
    assert {picture.person for picture in read([Path()])} == {"Ann Lee"}


def test_name_from_a_mac_equals_the_typed_name(tmp_path: Path) -> None:
    (tmp_path / "Zoe\u0308.jpg").write_bytes(JPEG)
    assert read([], tmp_path)[0].person == "Zo\u00eb"


def test_folder_without_pictures_is_refused(folder: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"has no pictures of a person\. Use JPEG, PNG, WebP, HEIC, AVIF or TIFF"
    ):
        read([folder / "empty"])
    with pytest.raises(ArgumentError, match=r"has no pictures\. Put pictures there, as PERSON\.jpg"):
        find_people([], folder / "empty")


def test_missing_path_is_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"no\.jpg does not exist\. Name a picture, or a folder"):
        find_people([folder / "no.jpg"])
    with pytest.raises(ArgumentError, match=r"me\.jpg is not a folder\. Use --keep for a picture"):
        find_people([], folder / "me.jpg")


def test_two_people_of_one_name_are_refused(folder: Path) -> None:
    (folder / "empty" / "me.png").write_bytes(JPEG)
    with pytest.raises(ArgumentError, match="Two people are called me"):
        read([folder / "me.jpg"], folder)
    with pytest.raises(ArgumentError, match="Two people are called me"):
        read([folder / "me.jpg", folder / "empty" / "me.png"])


def test_huge_file_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_files, "MAX_PICTURE_BYTES", 5)
    with pytest.raises(PictureError, match=r"me\.jpg has 8 bytes, at most 5 are allowed"):
        read([folder / "me.jpg"])


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows allow only text in names")
def test_name_that_is_not_text_is_refused_with_a_printable_message(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(JPEG)
    with pytest.raises(ArgumentError, match=r"caf\\udce9\.jpg names a person, but its name") as refused:
        read([], tmp_path)
    str(refused.value).encode()
