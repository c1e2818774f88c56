"""The public clips are listed with unique hashes, and a file with another hash is rejected."""

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


def test_content_with_another_hash_is_rejected(tmp_path: Path, origin: str) -> None:
    file = listed_file(origin, sha256="0" * 64)
    with pytest.raises(PublicClipsError, match=r"clip.mp4 has the SHA-256 .*, expected 000"):
        fetch([file], folder=tmp_path / "cache", address=origin)
    assert not list((tmp_path / "cache").glob("*.mp4"))


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
