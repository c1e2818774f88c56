"""A segment that takes longer than one delivery may is split in two, and a half again.

A part is named by the way to it: "" is the whole segment, "0" and "1" are its halves, "01" is the second half of the
first. Where halves meet follows from the manifest alone, so whoever splits a segment splits it there. The mark of a
split lies beside what the parts make. What is done counts, whole or in parts, whichever was there first.
"""

from collections.abc import Iterable
from fractions import Fraction

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, TimeRange
from defacer.pipeline.errors import MalformedMessageError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

MAX_SPLITS = 4  # of a segment, one after the other: sixteenths
MIN_SECONDS = 1  # of a half


class Subsegments:
    """What one step of a job has made so far, by a listing of the step's objects."""

    def __init__(self, refs: Iterable[ObjectRef]):
        self._done: dict[tuple[int, str], ObjectRef] = {}
        self._split: set[tuple[int, str]] = set()
        for ref in refs:
            piece = object_names.parse_subsegment(ref.name)
            if piece is None:
                continue
            if piece.is_split:
                self._split.add((piece.index, piece.part))
            else:
                self._done[piece.index, piece.part] = ref

    def of(self, index: int, part: str = "") -> tuple[ObjectRef, ...] | None:
        """What was made of a segment, in the order of time; None while anything is missing."""
        if (index, part) in self._done:
            return (self._done[index, part],)
        if (index, part) not in self._split:
            return None
        first, second = self.of(index, part + "0"), self.of(index, part + "1")
        return None if first is None or second is None else first + second

    def all_of(self, segments: range) -> tuple[ObjectRef, ...] | None:
        """What was made of all these segments, in the order of time; None while anything is missing."""
        found: list[ObjectRef] = []
        for index in segments:
            pieces = self.of(index)
            if pieces is None:
                return None
            found += pieces
        return tuple(found)


def list_outputs_if_complete(manifest: Manifest, step: str, index: int) -> tuple[ObjectRef, ...] | None:
    """What a step has made of all segments, in the order of time; None while anything is missing.

    Asked when segment `index` is done. The hundred around it is looked at first: of a video of hours everything is
    listed a few times only, not once for each segment.
    """
    bucket, segments = settings().work_bucket, range(len(manifest.segments))
    near = range(
        index - index % object_names.BLOCK,
        min(index - index % object_names.BLOCK + object_names.BLOCK, len(segments)),
    )
    if len(near) < len(segments):
        block = objects.list_all(bucket, object_names.block_prefix(manifest.job, step, index))
        if Subsegments(block).all_of(near) is None:
            return None
    return Subsegments(objects.list_all(bucket, object_names.step_prefix(manifest.job, step))).all_of(
        segments
    )


def self_and_ancestors(part: str) -> list[str]:
    """The part, what that is a half of, and so on up to the whole segment."""
    return [part[:length] for length in range(len(part), -1, -1)]


def range_of(manifest: Manifest, index: int, part: str) -> TimeRange:
    """The time range of a part. Raises MalformedMessageError if there is none of that name."""
    found = manifest.segments[index]
    for half in part:
        middle = _middle(manifest, found)
        if middle is None:
            raise MalformedMessageError(f"segment {index} of job {manifest.job} has no part {part!r}")
        start, end = (found.start, middle) if half == "0" else (middle, found.end)
        found = TimeRange(start=start, end=end)
    return found


def can_split(manifest: Manifest, index: int, part: str) -> bool:
    """Whether the part is long enough to be split, and not too often split already."""
    return len(part) < MAX_SPLITS and _middle(manifest, range_of(manifest, index, part)) is not None


def _middle(manifest: Manifest, whole: TimeRange) -> int | None:
    """Where the halves meet; None if they would be too short, or nobody knows how long the video is."""
    video = manifest.video
    base = Fraction(video.time_base)
    start = video.start_pts if whole.start is None else whole.start
    end = whole.end
    if end is None:
        if video.duration_seconds is None:
            return None
        end = video.start_pts + round(Fraction(video.duration_seconds) / base)
    return (start + end) // 2 if (end - start) * base >= 2 * MIN_SECONDS else None
