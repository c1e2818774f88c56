"""Public clips and pictures that show one person each: identity truth for free.

`public_clips.json` names each file by repository, commit, path and SHA-256, and says which person it shows. No two of
its people are the same, and none is in the clips of `DEFACER_EVAL`. No picture or video is part of this repository.

    python -m tests.quality.public_clips        fetch all files (150 MB) into the cache folder

Each file is read from the first of these:

1. the cache: `public-clips` in the project's folder in the user's cache folder,
2. `DEFACER_PUBLIC_MIRROR`: a folder of bare git repositories, `OWNER+NAME/repo` or `OWNER+NAME.git`,
3. GitHub, with plain git: only the commit and the files that are listed.

Interface for other modules:

    files = public_files()              # tuple[PublicFile, ...]; .person, .is_clip, .tags such as "glasses"
    paths = fetch(files, print)         # dict[PublicFile, Path]; raises PublicClipsError

`composites.py` joins the files to videos with several people, whose boxes and identities are known:

    for composite in composites(print): # builds missing ones; raises PublicClipsError
        composite.name, composite.video # "cuts-1", Path of an MP4
        composite.truth                 # as in clips/NAME.json, each face "other" or "ignore": no one is a target
        for target in composite.targets:
            target.person, target.picture            # "p01", Path of a PNG or JPEG that the video does not show
            composite.truth_of(target)               # the same truth, with this person's faces as "target"
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from defacer.engine.models.weights import cache_dir

MIRROR_VARIABLE = "DEFACER_PUBLIC_MIRROR"
LIST = Path(__file__).with_suffix(".json")
GITHUB = "https://github.com"
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
GIT_TIMEOUT = 300  # seconds


class PublicClipsError(Exception):
    """A public file cannot be fetched, or differs from the listed file."""


@dataclass(frozen=True)
class PublicFile:
    """A public clip or picture. `tags` describe the person, or how the person is filmed."""

    person: str
    repository: str
    commit: str
    path: str
    sha256: str
    tags: tuple[str, ...] = ()

    @property
    def is_clip(self) -> bool:
        return PurePosixPath(self.path).suffix.lower() not in PICTURE_SUFFIXES

    @property
    def cached_name(self) -> str:
        return self.sha256[:16] + PurePosixPath(self.path).suffix.lower()


def public_files(path: Path = LIST) -> tuple[PublicFile, ...]:
    """Return the listed files. Of each person, clips come before pictures."""
    listed = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        PublicFile(
            person,
            repository,
            listed["repositories"][repository],
            path,
            sha256,
            tuple(listed["people"][person]),
        )
        for person, repository, path, sha256 in listed["files"]
    )


def default_folder() -> Path:
    return cache_dir() / "public-clips"


def fetch(
    files: Sequence[PublicFile],
    progress: Callable[[str], None] = lambda _: None,
    *,
    folder: Path | None = None,
    address: str = GITHUB,
) -> dict[PublicFile, Path]:
    """Return where each file is on disk, after fetching the files that are not in `folder`.

    `progress` gets a line for each repository that is read. Raises PublicClipsError.
    """
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_cached(file, folder)]
    for repository, group in groupby(sorted(missing, key=_source), key=_source):
        wanted = list(group)
        progress(f"{repository[0]}: {len(wanted)} of {len(missing)} missing files")
        git_dir = _git_dir(*repository, folder, address)
        for file in wanted:
            write_whole(folder / file.cached_name, _content(file, git_dir))
    return {file: folder / file.cached_name for file in files}


def _source(file: PublicFile) -> tuple[str, str]:
    return file.repository, file.commit


def _is_cached(file: PublicFile, folder: Path) -> bool:
    path = folder / file.cached_name
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _git_dir(repository: str, commit: str, folder: Path, address: str) -> Path:
    """Return a bare repository that has the commit, or that fetches it from its origin."""
    name = repository.replace("/", "+")
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        for git_dir in (Path(mirror) / name / "repo", Path(mirror) / f"{name}.git"):
            if git_dir.is_dir():
                return git_dir
    git_dir = folder / f"{name}.git"
    url = f"{address}/{repository}.git"
    try:
        if not git_dir.exists():
            _git("init", "--quiet", "--bare", str(git_dir))
            _git("--git-dir", str(git_dir), "remote", "add", "origin", url)
        # Blobs are left out here and come one by one, when they are read.
        _git(
            "--git-dir", str(git_dir), "fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", commit
        )
    except _GitError as error:
        raise PublicClipsError(
            f"{repository}: commit {commit} cannot be fetched from {url} ({error}). Check the network, or set "
            f"{MIRROR_VARIABLE} to a folder that contains the bare repository {name}.git."
        ) from error
    return git_dir


def _content(file: PublicFile, git_dir: Path) -> bytes:
    try:
        data = _git("--git-dir", str(git_dir), "cat-file", "blob", f"{file.commit}:{file.path}")
    except _GitError as error:
        raise PublicClipsError(
            f"{file.repository}: {file.path} at commit {file.commit} cannot be read from {git_dir} ({error}). "
            f"Fetch that commit into the repository, or unset {MIRROR_VARIABLE} to fetch from GitHub."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise PublicClipsError(
            f"{file.repository}: {file.path} has the SHA-256 {found}, expected {file.sha256}. "
            f"Replace the repository {git_dir} by an unchanged copy."
        )
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader finds all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


class _GitError(Exception):
    """The last line of git's message."""


def _git(*arguments: str) -> bytes:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, check=False, env=environment, timeout=GIT_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise _GitError(f"no answer in {GIT_TIMEOUT} s") from error
    except OSError as error:
        raise _GitError(f"git cannot be run: {error.strerror}") from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        raise _GitError(message[-1] if message else f"git ended with code {done.returncode}")
    return done.stdout


def main() -> int:
    files = public_files()
    try:
        fetch(files, lambda line: print(line, file=sys.stderr))
    except PublicClipsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    people = {file.person for file in files}
    print(f"{len(files)} files of {len(people)} people are in {default_folder()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
