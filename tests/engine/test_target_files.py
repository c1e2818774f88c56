"""Target pictures on disk: a file or a folder for each person, or a folder of people."""

import os
import sys
from pathlib import Path

import pytest

from defacer.engine.errors import ArgumentError, PictureError
from defacer.engine.recognition import target_files
from defacer.engine.recognition.gallery import Picture
from defacer.engine.recognition.target_files import find_people

NAMES = (
    "me.jpg",
    "Ann Lee/1.HEIC",
    "Ann Lee/b.webp",
    "Ann Lee/old/no.jpg",
    "Ann Lee/._1.HEIC",
    "Ann Lee/notes.txt",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of people with spaces and non-Latin letters. Each file holds its own name."""
    root = tmp_path / "people of 東京"
    for name in (*NAMES, "Zoë.avif", ".hidden.png", "read.me", "empty/notes.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def read(paths: list[Path], folder: Path | None = None) -> list[Picture]:
    return [file.read() for file in find_people(paths, folder)]


def found(pictures: list[Picture]) -> list[tuple[str, str]]:
    return [(picture.person, picture.data.decode()) for picture in pictures]


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
        ("Zoë", "Zoë.avif"),
        ("me", "me.jpg"),
    ]


def test_current_folder_names_its_person(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "Ann Lee")
    assert {picture.person for picture in read([Path()])} == {"Ann Lee"}


def test_name_from_a_mac_equals_the_typed_name(tmp_path: Path) -> None:
    (tmp_path / "Zoe\u0308.jpg").write_bytes(b"x")
    assert read([], tmp_path)[0].person == "Zo\u00eb"


def test_folder_without_pictures_is_refused(folder: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"has no pictures of a person\. Use JPEG, PNG, WebP, HEIC or AVIF"
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
    (folder / "empty" / "me.png").write_bytes(b"x")
    with pytest.raises(ArgumentError, match="Two people are called me"):
        read([folder / "me.jpg"], folder)
    with pytest.raises(ArgumentError, match="Two people are called me"):
        read([folder / "me.jpg", folder / "empty" / "me.png"])


def test_huge_file_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_files, "MAX_PICTURE_BYTES", 5)
    with pytest.raises(PictureError, match=r"me\.jpg has 6 bytes, at most 5 are allowed"):
        read([folder / "me.jpg"])


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows allow only text in names")
def test_name_that_is_not_text_is_refused_with_a_printable_message(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(ArgumentError, match=r"caf\\udce9\.jpg names a person, but its name") as refused:
        read([], tmp_path)
    str(refused.value).encode()
