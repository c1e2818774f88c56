"""The changes of a video other than its faces: data that De-facer drops, converts or corrects.

The engine collects the changes of a source, and the report lists them. The text below each code is its row in
README.md (`make reference`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, cast

from defacer.report.tracks import STRICT

Action = Literal["dropped", "converted", "corrected"]


class ChangeCode(StrEnum):
    """The code of a `SourceChange`. It begins with the action."""

    DROPPED_COVER = "dropped-cover"
    """A cover picture or thumbnails."""
    DROPPED_PICTURE = "dropped-picture"
    """Another picture track, the second view of a spatial video, or a rotation that most players do not apply."""
    DROPPED_PROJECTION = "dropped-projection"
    """The layout of a 3D picture or the projection of a 360-degree picture, if an MP4 can't state it."""
    DROPPED_SOUND = "dropped-sound"
    """A sound track in a format that can't be decoded."""
    DROPPED_SUBTITLES = "dropped-subtitles"
    """Subtitles that are pictures."""
    DROPPED_TELEMETRY = "dropped-telemetry"
    """A text track of a drone, an action camera or a dashcam, or texts and titles of chapters that show a position."""
    DROPPED_DATA = "dropped-data"
    """A data track, such as a time code."""
    DROPPED_ATTACHMENT = "dropped-attachment"
    """An attached file, such as a font."""
    DROPPED_TAG = "dropped-tag"
    """A tag of the file or of a track."""
    DROPPED_USER_DATA = "dropped-user-data"
    """User data of a camera or an editor."""
    CONVERTED_PICTURE = "converted-picture"
    """A picture that changes its size, proportions, rotation or pixel format. All frames get those of the first."""
    CONVERTED_SOUND = "converted-sound"
    """Sound that an MP4 can't hold, or that common players can't play."""

    CORRECTED_CLOCK = "corrected-clock"
    """A clock that does not begin near 0, or that restarts. The result begins at 0 and has no restart."""
    CORRECTED_TIMES = "corrected-times"
    """Frames without a presentation time, or with the time of another frame."""
    DROPPED_FRAMES = "dropped-frames"
    """Frames at the start or the end of a recording that can't be decoded, and the sound before the first frame."""
    CORRECTED_SOUND = "corrected-sound"
    """Sound that can't be decoded, and is silent in the result."""

    @property
    def action(self) -> Action:
        return cast(Action, self.partition("-")[0])


@dataclass(frozen=True)
class SourceChange:
    """One change, without any value of the data."""

    __pydantic_config__ = STRICT

    code: ChangeCode
    """One of the codes below."""
    text: str
    """The kind of data, for people, such as `cover picture`."""


def list_dropped(changes: Iterable[SourceChange]) -> tuple[str, ...]:
    """Return the texts of the dropped data."""
    return tuple(change.text for change in changes if change.code.action == "dropped")


def describe_changes(changes: Iterable[SourceChange]) -> Iterator[str]:
    """Yield a line for each action with the texts of its changes."""
    texts: dict[Action, list[str]] = {"dropped": [], "converted": [], "corrected": []}
    for change in changes:
        texts[change.code.action].append(change.text)
    yield from (f"{action}: {', '.join(found)}" for action, found in texts.items() if found)
