"""Checks of a user's files. Standard library only: `make demo` runs them before it installs anything."""

from collections.abc import Sequence
from pathlib import Path

from defacer.engine.errors import VideoError
from defacer.engine.options import MODES
from defacer.picture_formats import NAMES, SUFFIXES, content_type_of
from defacer.pipeline.storage.object_names import VideoName
from defacer_emulator.errors import EmulatorUsageError

MAX_FILE_NAME_BYTES = 255
HEAD_BYTES = 4096
DOCUMENT_SIGNATURES = (b"%PDF", b"PK\x03\x04")


def check_inputs(channel: str, video: Path | None, targets: Sequence[Path], replacement: Path | None) -> None:
    """Raise EmulatorUsageError for a channel, video or picture whose name or kind the pipeline would reject.

    Raise VideoError for a video that is another kind of file.
    """
    if not channel or "/" in channel:
        raise EmulatorUsageError(f"The channel name {channel!r} is not valid. Choose a name without slashes.")
    if video is not None:
        _check_video(video)
        _check_name(video, VideoName(channel, video.name))
    for target in targets:
        _check_name(target, VideoName(channel, target.name))
        if target.name.startswith("."):
            raise EmulatorUsageError(
                f"The target picture {target} names no person, because it starts with a dot. Rename it."
            )
        _check_picture(target, "The target picture")
    names = [target.name for target in targets]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise EmulatorUsageError(
            f"Two target pictures are called {duplicates[0]}. The file name names the person: rename one picture."
        )
    if replacement:
        _check_picture(replacement, "The replacement picture")


def check_mode(mode: str | None, replacement: Path | None) -> None:
    """Raise EmulatorUsageError for an unknown mode, or for mode image without a picture."""
    if mode is not None and mode not in MODES:
        raise EmulatorUsageError(f"The mode {mode!r} is unknown. Choose one of {', '.join(MODES)}.")
    if mode == "image" and replacement is None:
        raise EmulatorUsageError(
            "Mode image needs a picture: add --replacement PICTURE.png (with make: REPLACEMENT=PICTURE.png), "
            "or choose another mode."
        )


def check_file(path: Path, description: str) -> bytes:
    """Return the first bytes of a file. Raise EmulatorUsageError if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise EmulatorUsageError(f"{description} {path} does not exist. Name an existing file.") from None
    except IsADirectoryError:
        raise EmulatorUsageError(f"{description} {path} is a folder, not a file. Name a file.") from None
    except OSError as error:
        raise EmulatorUsageError(
            f"{description} {path} can't be read: {error.strerror}. Change its permissions, or name another file."
        ) from error


def _check_video(path: Path) -> None:
    """Raise VideoError for pictures and documents. FFmpeg rejects other files later."""
    head = check_file(path, "The video")
    if not head:
        raise VideoError(f"The video {path} is empty. Choose a video file, such as an MP4.")
    kind = ""
    if path.suffix.lower() in SUFFIXES or (content_type_of(head) not in (None, "image/jpeg")):
        kind = "a picture"
    elif head.startswith(DOCUMENT_SIGNATURES) or _is_text(head):
        kind = "a document"
    if kind:
        raise VideoError(f"The video {path} is {kind}. Choose a video file, such as an MP4.")


def _check_picture(path: Path, description: str) -> None:
    if content_type_of(check_file(path, description)) is None:
        raise EmulatorUsageError(
            f"{description} {path} is not a picture that can be read. Use a {NAMES} file."
        )


def _is_text(head: bytes) -> bool:
    """Return whether these bytes are text. A YUV4MPEG2 video has a first line of text only."""
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def _check_name(path: Path, name: VideoName) -> None:
    """Raise EmulatorUsageError unless a video or picture can have this name in this channel."""
    problem = name.problem
    if not problem and len(Path(name.report).name.encode()) > MAX_FILE_NAME_BYTES:
        problem = (
            f"the report's name would be longer than {MAX_FILE_NAME_BYTES} bytes, and objects are files here"
        )
    if problem:
        raise EmulatorUsageError(
            f"{str(path)!r} can't be uploaded into channel {name.channel!r}: {problem}. Rename it."
        )
