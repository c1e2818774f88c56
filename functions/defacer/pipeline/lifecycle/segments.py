"""Publish the tasks of a step, split a segment that takes longer than one delivery, and find out what a step has done.

A job has at most `manifest.window` tasks in the queue, so that a long video does not delay the videos of other
channels: the first ones are published at once, and a segment that is done publishes the task that is `window` segments
further. A worker does that before it deletes its lease. So if it dies in between, the next worker finds the lease.

A subsegment is named by its path: "" is the whole segment, "0" and "1" are its halves, "01" is the second half of the
first half. The manifest alone determines where two halves meet, so every worker splits a segment in the same place. The
mark of a split is in the folder of the step's outputs. A segment counts as done by its own output or by those of its
subsegments.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, TimeRange
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.errors import MalformedMessageError
from defacer.pipeline.lifecycle.step_marks import StepMarks
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

MAX_SPLITS = 4  # of a segment, one after the other: sixteenths
MIN_SECONDS = 1  # of a subsegment


class Subsegments:
    """The outputs of one step of a job, by a listing of the step's objects."""

    def __init__(self, refs: Iterable[ObjectRef]):
        self._done: dict[tuple[int, str], ObjectRef] = {}
        self._split: set[tuple[int, str]] = set()
        for ref in refs:
            parsed = object_names.parse_subsegment(ref.name)
            if parsed is None:
                continue
            if parsed.is_split:
                self._split.add((parsed.index, parsed.subsegment))
            else:
                self._done[parsed.index, parsed.subsegment] = ref

    def of(self, index: int, subsegment: str = "") -> tuple[ObjectRef, ...] | None:
        """Return the outputs of a segment or a subsegment in the order of time; None if one is missing."""
        if (index, subsegment) in self._done:
            return (self._done[index, subsegment],)
        if (index, subsegment) not in self._split:
            return None
        first, second = self.of(index, subsegment + "0"), self.of(index, subsegment + "1")
        return None if first is None or second is None else first + second

    def all_of(self, segments: range) -> tuple[ObjectRef, ...] | None:
        """Return the outputs of these segments in the order of time; None if one is missing."""
        outputs: list[ObjectRef] = []
        for index in segments:
            refs = self.of(index)
            if refs is None:
                return None
            outputs += refs
        return tuple(outputs)


def publish_first_tasks(manifest: Manifest, ref: ObjectRef, faces: ObjectRef | None = None) -> None:
    """Publish the first tasks of a step: of "redact" with `faces`, else of "detect"."""
    step: Literal["detect", "redact"] = "redact" if faces else "detect"
    tasks = [
        SegmentTask(job=manifest.job, index=index, step=step, manifest=ref, faces=faces)
        for index in range(len(manifest.segments))[: manifest.window]
    ]
    pubsub.publish(settings().segments_topic, pubsub.SEGMENT_TASK, tasks)


def list_next_task(task: SegmentTask, manifest: Manifest) -> list[SegmentTask]:
    """Return the task that follows when this segment is done or split. The tasks of subsegments have none."""
    index = task.index + (manifest.window or len(manifest.segments))
    is_last = bool(task.subsegment) or index >= len(manifest.segments)
    return [] if is_last else [task.model_copy(update={"index": index})]


def list_outputs_if_complete(job: str, step: str, segments: int) -> tuple[ObjectRef, ...] | None:
    """Return the outputs of a step for all segments in the order of time; None if one is missing."""
    listed = objects.list_all(settings().work_bucket, object_names.step_prefix(job, step))
    return Subsegments(listed).all_of(range(segments))


def is_step_complete(done: SegmentDone, marks: StepMarks) -> bool:
    """Return whether this message's step is done with all segments. Return True also if it is over, or can't be done.

    The video's last segment is usually among the last ones that are done. So it is read first, and the outputs are
    listed only once it exists, or if a segment was split.
    """
    last = marks.segments - 1
    if marks.is_over or not marks.segments:  # the manifest is gone
        return True
    if not marks.is_split and done.index != last:
        name = object_names.step_output(done.job, done.step, last)
        if objects.find_blob(settings().work_bucket, name) is None:
            return False
    return list_outputs_if_complete(done.job, done.step, marks.segments) is not None


def self_and_ancestors(subsegment: str) -> list[str]:
    """Return the subsegment, then the one that contains it, up to the whole segment."""
    return [subsegment[:length] for length in range(len(subsegment), -1, -1)]


def range_of(manifest: Manifest, index: int, subsegment: str) -> TimeRange:
    """Return the time range of a subsegment. Raise MalformedMessageError for a path that does not exist."""
    found = manifest.segments[index]
    for half in subsegment:
        middle = _middle(manifest, found)
        if middle is None:
            raise MalformedMessageError(
                f"segment {index} of job {manifest.job} has no subsegment {subsegment!r}"
            )
        start, end = (found.start, middle) if half == "0" else (middle, found.end)
        found = TimeRange(start=start, end=end)
    return found


def can_split(manifest: Manifest, index: int, subsegment: str) -> bool:
    """Return whether the subsegment is long enough to be split, and was not split too often before."""
    if len(subsegment) >= MAX_SPLITS:
        return False
    return _middle(manifest, range_of(manifest, index, subsegment)) is not None


def _middle(manifest: Manifest, whole: TimeRange) -> int | None:
    """Return where the halves meet; None if they would be too short, or the duration is unknown."""
    video = manifest.video
    base = Fraction(video.time_base)
    start = video.start_pts if whole.start is None else whole.start
    end = whole.end
    if end is None:
        if video.duration_seconds is None:
            return None
        end = video.start_pts + round(Fraction(video.duration_seconds) / base)
    return (start + end) // 2 if (end - start) * base >= 2 * MIN_SECONDS else None
