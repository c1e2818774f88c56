"""Fetch public clips from small local git repositories."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.quality.public_clips import (
    LIST,
    MIRROR_VARIABLE,
    PublicClipsError,
    PublicFile,
    fetch,
    public_files,
)

CONTENT = b"a clip"


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """Return the base URL of `owner/name.git`, which has one commit."""
    work, bare = tmp_path / "work", tmp_path / "origin" / "owner" / "name.git"
    (work / "a folder").mkdir(parents=True)
    (work / "a folder" / "clip.mp4").write_bytes(CONTENT)
    bare.parent.mkdir(parents=True)
    git("init", "--quiet", str(work))
    git("-C", str(work), "add", "--all")
    git("-C", str(work), "commit", "--quiet", "--message", "Add a clip")
    git("clone", "--quiet", "--bare", str(work), str(bare))
    git("-C", str(bare), "config", "uploadpack.allowFilter", "true")
    git("-C", str(bare), "config", "uploadpack.allowAnySHA1InWant", "true")
    return f"file://{tmp_path / 'origin'}"


def test_file_is_fetched_with_git_and_cached(tmp_path: Path, origin: str) -> None:
    file, folder = listed_file(origin), tmp_path / "cache"
    lines: list[str] = []
    path = fetch([file], lines.append, folder=folder, address=origin)[file]
    assert path.read_bytes() == CONTENT
    assert path.suffix == ".mp4"
    assert lines == ["owner/name: 1 of 1 missing files"]
    again = fetch([file], lines.append, folder=folder, address="file:///nowhere")
    assert again == {file: path}
    assert len(lines) == 1


def test_damaged_file_in_cache_is_fetched_again(tmp_path: Path, origin: str) -> None:
    file, folder = listed_file(origin), tmp_path / "cache"
    path = fetch([file], folder=folder, address=origin)[file]
    path.write_bytes(b"damaged")
    assert fetch([file], folder=folder, address=origin)[file].read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["owner+name/repo", "owner+name.git"])
def test_mirror_is_read_before_the_network(
    tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = listed_file(origin)
    (tmp_path / "mirror" / name).parent.mkdir(parents=True)
    (bare_of(origin)).rename(tmp_path / "mirror" / name)
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    found = fetch([file], folder=tmp_path / "cache", address="file:///nowhere")
    assert found[file].read_bytes() == CONTENT


def test_content_with_another_hash_is_rejected(tmp_path: Path, origin: str) -> None:
    file = listed_file(origin, sha256="0" * 64)
    with pytest.raises(PublicClipsError, match=r"clip.mp4 has the SHA-256 .*, expected 000"):
        fetch([file], folder=tmp_path / "cache", address=origin)
    assert not list((tmp_path / "cache").glob("*.mp4"))


def test_path_missing_in_commit_names_file_and_commit(tmp_path: Path, origin: str) -> None:
    file = listed_file(origin, path="other.mp4")
    with pytest.raises(PublicClipsError, match=rf"other.mp4 at commit {file.commit} cannot be read"):
        fetch([file], folder=tmp_path / "cache", address=origin)


def test_unreachable_repository_names_address_and_mirror(tmp_path: Path, origin: str) -> None:
    with pytest.raises(PublicClipsError, match=rf"file:///nowhere/owner/name.git.*{MIRROR_VARIABLE}"):
        fetch([listed_file(origin)], folder=tmp_path / "cache", address="file:///nowhere")


def test_missing_git_is_reported(tmp_path: Path, origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = listed_file(origin)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PublicClipsError, match="git cannot be run: No such file"):
        fetch([file], folder=tmp_path / "cache", address=origin)


def test_list_has_forty_people_and_unique_files() -> None:
    files = public_files()
    assert len({file.person for file in files if file.is_clip}) >= 40
    assert len({file.sha256 for file in files}) == len(files)
    assert all(len(file.commit) == 40 and len(file.sha256) == 64 for file in files)
    tags = {tag for file in files for tag in file.tags}
    assert {"older", "child", "glasses", "dark skin", "medium dark skin", "head covering"} <= tags
    assert json.loads(LIST.read_text(encoding="utf-8"))["repositories"].keys() == {
        file.repository for file in files
    }


def listed_file(origin: str, path: str = "a folder/clip.mp4", sha256: str = "") -> PublicFile:
    commit = git("-C", str(bare_of(origin)), "rev-parse", "HEAD")
    return PublicFile("p01", "owner/name", commit, path, sha256 or hashlib.sha256(CONTENT).hexdigest())


def bare_of(origin: str) -> Path:
    return Path(origin.removeprefix("file://")) / "owner" / "name.git"


def git(*arguments: str) -> str:
    author = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, env={**os.environ, **author}
    )
    return done.stdout.strip()
