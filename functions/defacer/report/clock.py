"""The corrections of a video's times.

The engine decides them once, when a video is examined. The manifest of a job carries them, so that all steps read the
same times.
"""

from dataclasses import dataclass

from defacer.report.changes import SourceChange
from defacer.report.tracks import STRICT


@dataclass(frozen=True)
class Clock:
    """How the times of a video are corrected. The default changes nothing. All times are in the picture's time base.

    The clock of a video can restart, for example where two recordings were joined. `offsets` has the time to add before
    the first restart, after it, and so on. With `is_sequential` the video is read from its start, because a seek skips
    what decides a time. With `is_reordered` the times are in the order of decoding, so the n-th displayed frame gets
    the n-th time.

    Frames before `first` can't be decoded, and neither can the incomplete last frame at `cut`. They are not
    displayed, and sound before `first` is dropped. `changes` describes all of this for the report.

    `rate_limit` is the bit rate for a source whose rate changes, 0 if its packets were not read. An MP4 has an index.
    """

    __pydantic_config__ = STRICT

    offsets: tuple[int, ...] = (0,)
    is_sequential: bool = False
    is_reordered: bool = False
    has_moved: bool = False
    first: int | None = None
    cut: int | None = None
    changes: tuple[SourceChange, ...] = ()
    rate_limit: int = 0
