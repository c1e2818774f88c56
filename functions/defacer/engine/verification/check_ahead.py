"""Search redacted frames just before they are encoded, and mask the faces that are found.

Frames wait in a look-ahead buffer, so that a mask can begin before the first detection of its face. Then no frame has
to be encoded twice.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av

from defacer.engine.media.orientation import Orientation
from defacer.engine.models.arrays import Detection
from defacer.engine.rendering.box_motion import compute_overlap
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.mask_extension import MAX_BUFFERED_BYTES, MaskExtension, frame_bytes
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Openings
from defacer.engine.runtime.prefetch import usable_threads
from defacer.engine.tracking.reduced_frame import SLOT_SECONDS
from defacer.engine.tracking.sampling import SAME_PLACE
from defacer.engine.verification.inspection import Detections, Inspector
from defacer.engine.verification.splicing import Interval
from defacer.engine.verification.visible_faces import (
    CONTINUES_SECONDS,
    LINK_SECONDS,
    ClassifiedDetection,
    Samples,
    classify_detections,
    find_candidates,
    find_visible_faces,
)
from defacer.report.compact_boxes import Box, BoxAt, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Origin, Reason, TrackRecord

# Slots begin between the frames that the first pass sampled, because faces that it missed can be there.
PHASE_SECONDS = SLOT_SECONDS / 2
AHEAD_SECONDS = 1.25  # frames wait for this time, or less where they exceed MAX_BUFFERED_BYTES
MAX_PENDING = 2  # unfinished searches
# Detections that are older are dropped, unless a visible face began with them. After MAX_PAST_SECONDS all are dropped.
PAST_SECONDS = CONTINUES_SECONDS + LINK_SECONDS
MAX_PAST_SECONDS = 10.0
CANDIDATE_SECONDS = 0.1  # every frame is searched at this distance from a candidate,
BEFORE_SECONDS, AFTER_SECONDS = 0.45, 0.6  # and before and after a visible face, beyond the ends of its mask


@dataclass(frozen=True)
class _CheckedFrame:
    picture: av.VideoFrame
    pts: int


class CheckAhead:
    """Searches the frames of a segment as they pass through `check_frames`.

    `detections` are all detections by time, and `masks` the boxes that were drawn before the check. `frames` is the
    number of sampled frames, without those that were searched around a candidate.
    """

    def __init__(self, inspector: Inspector, faces: Faces, every_frame: bool):
        self.detections: Detections = {}
        self.masks = DrawnMasks()
        self.frames = 0
        self._inspector = inspector
        self._faces = faces
        self._every_frame = every_frame
        self._base = Fraction(faces.time_base)
        self._tracks = _NearTracks(faces.tracks)
        self._buffer: deque[_CheckedFrame] = deque()
        self._pending: deque[tuple[int, Future[list[Detection]]]] = deque()
        self._recent: list[int] = []  # sorted times of the detections that were not dropped yet,
        self._classified: dict[int, list[ClassifiedDetection]] = {}  # and these detections
        self._ends: set[int] = set()  # the first and the last frame of the segment
        self._found: tuple[CompactBoxes, ...] = ()
        self._schedule: MaskSchedule | None = None  # of the visible faces, until they change
        self._followed_before: set[BoxAt] = set()  # first detections of faces that are followed before them
        self._followed_after: set[BoxAt] = set()  # last detections of faces that are followed after them

    def check_frames(
        self, frames: Iterable[av.VideoFrame], orientation: Orientation
    ) -> Iterator[tuple[av.VideoFrame, list[Box], Openings]]:
        """Yield each frame, in order, with the boxes of visible faces in it, and the openings in their masks."""
        self._inspector.orientation = orientation
        extension = MaskExtension(self._faces, orientation, followed=())
        with ThreadPoolExecutor(usable_threads(), "check") as pool:
            try:
                released = self._search_and_release(frames, pool, extension)
                for picture, extensions in extension.extend_masks(released):
                    pts = picture.pts or 0
                    if not self._found and not extensions:
                        yield picture, [], Openings()
                        continue
                    schedule = self._mask_schedule()
                    yield picture, [*schedule.boxes(pts), *extensions], schedule.openings(pts, extensions)
            finally:
                pool.shutdown(cancel_futures=True)

    def _mask_schedule(self) -> MaskSchedule:
        if self._schedule is None:
            tracks = (*kept_tracks(self._tracks.near), *hidden_tracks(self._found, self._faces))
            self._schedule = MaskSchedule(replace(self._faces, tracks=tracks))
        return self._schedule

    def _search_and_release(
        self, frames: Iterable[av.VideoFrame], pool: ThreadPoolExecutor, extension: MaskExtension
    ) -> Iterator[av.VideoFrame]:
        """Yield the frames after they were searched in the look-ahead buffer."""
        slot, delay = None, round(AHEAD_SECONDS / self._base)
        for picture in frames:
            frame = _CheckedFrame(picture, picture.pts or 0)
            self._ends = self._ends or {frame.pts}
            self._buffer.append(frame)
            max_frames = max(1, MAX_BUFFERED_BYTES // frame_bytes(picture))
            own_slot = int((frame.pts * self._base + PHASE_SECONDS) // SLOT_SECONDS)
            if self._every_frame or own_slot != slot:
                slot = own_slot
                self._search(frame, pool)
            self._settle(MAX_PENDING, pool, extension)
            while frame.pts - self._buffer[0].pts > delay or len(self._buffer) > max_frames:
                yield self._release(pool, extension)
        if self._buffer:
            last = self._buffer[-1]
            self._ends.add(last.pts)
            if last.pts not in self.detections and all(pts != last.pts for pts, _ in self._pending):
                self._search(last, pool)
        self._settle(0, pool, extension)
        while self._buffer:
            yield self._release(pool, extension)

    def _search(self, frame: _CheckedFrame, pool: ThreadPoolExecutor) -> None:
        self.frames += 1
        self._pending.append((frame.pts, pool.submit(self._inspector.detect, frame.picture)))

    def _release(self, pool: ThreadPoolExecutor, extension: MaskExtension) -> av.VideoFrame:
        """Remove and return the first frame, whose search must have ended, because masks are drawn into it."""
        frame = self._buffer[0]
        if self._pending and self._pending[0][0] <= frame.pts:
            self._settle(0, pool, extension)
        return self._buffer.popleft().picture

    def _settle(self, max_pending: int, pool: ThreadPoolExecutor, extension: MaskExtension) -> None:
        """Wait until at most `max_pending` searches are unfinished, then find the visible faces again.

        The number of searches does not depend on their speed, so the masks do not depend on it either.
        """
        found: Detections = {}
        while len(self._pending) > max_pending:
            pts, future = self._pending.popleft()
            found[pts] = future.result()
        if found:
            near = self._drop_past_and_select_tracks()
            candidates = find_candidates(self._add_detections(found, near))
            self._schedule = None
            if self._found or candidates:
                self._decide(near, pool, extension)

    def _add_detections(self, found: Detections, near: Faces) -> Samples:
        """Classify detections once: the masks in their frames are drawn, and `near` has the tracks there."""
        classified = classify_detections(found, near, self.masks.at)
        self.detections |= found
        self._classified |= classified
        for pts in found:
            insort(self._recent, pts)
        return classified

    def _drop_past_and_select_tracks(self) -> Faces:
        """Drop old detections. Return the faces with the tracks near the others and near the buffer."""
        now, margin = self._buffer[0].pts, self._units(PAST_SECONDS)
        starts = [face[0].pts for face in self._found if face[-1].pts >= now - margin]
        past = max(min([now - margin, *starts]), now - self._units(MAX_PAST_SECONDS))
        dropped = bisect_left(self._recent, past)
        for pts in self._recent[:dropped]:
            del self._classified[pts]
        del self._recent[:dropped]
        tracks = self._tracks.between(past - margin, self._buffer[-1].pts + margin)
        return replace(self._faces, tracks=tracks)

    def _decide(self, near: Faces, pool: ThreadPoolExecutor, extension: MaskExtension) -> None:
        """Find the visible faces, and search all buffered frames near a candidate or an end of a visible face."""
        while True:
            self._found = find_visible_faces(self._classified, near, ends=self._ends).faces
            intervals = [
                *intervals_around_candidates(self._classified, self._base, self._found),
                *intervals_around_ends(self._found, self._base, self._recent[-1]),
            ]
            known = self.detections.keys() | {pts for pts, _ in self._pending}
            wanted = [
                frame
                for frame in self._buffer
                if frame.pts not in known and any(first <= frame.pts <= last for first, last in intervals)
            ]
            if not wanted:
                break
            results = pool.map(self._inspector.detect, [frame.picture for frame in wanted])
            self._add_detections(dict(zip([frame.pts for frame in wanted], results, strict=True)), near)
        for track in hidden_tracks(self._found, self._faces):
            self._extend_masks(track, extension)

    def _extend_masks(self, track: TrackRecord, extension: MaskExtension) -> None:
        """Follow the face before its first detection, and after its last one as soon as that is known."""
        first, last = track.detections[0], track.detections[-1]
        if self._followed_before.isdisjoint(track.detections):
            self._followed_before.add(first)
            extension.extend_before(track)
        if last.pts < self._recent[-1] and last not in self._followed_after:
            self._followed_after.add(last)
            extension.extend_after(track)

    def _units(self, seconds: float) -> int:
        return round(seconds / self._base)


class _NearTracks:
    """The tracks around a time that never decreases. A long video has too many tracks to search all each time."""

    def __init__(self, tracks: Iterable[TrackRecord]):
        self._waiting = sorted(tracks, key=lambda track: track.start, reverse=True)
        self.near: tuple[TrackRecord, ...] = ()

    def between(self, start: int, end: int) -> tuple[TrackRecord, ...]:
        """Return the tracks with a detection from `start` to `end`."""
        near = list(self.near)
        while self._waiting and self._waiting[-1].start <= end:
            near.append(self._waiting.pop())
        self.near = tuple(track for track in near if track.end >= start)
        return self.near


def hidden_tracks(found: Sequence[CompactBoxes], faces: Faces) -> tuple[TrackRecord, ...]:
    """Return visible faces as hidden tracks with new numbers. Each forms a person group of its own."""
    first = max((track.id for track in faces.tracks), default=-1) + 1
    group = max((track.group for track in faces.tracks), default=-1) + 1
    return tuple(
        TrackRecord(
            id=first + number,
            start=boxes[0].pts,
            end=boxes[-1].pts,
            decision="hide",
            person=None,
            reason=Reason.FOUND_BY_VERIFICATION,
            distance=None,
            margin=None,
            continues=None,
            detections=boxes,
            group=group + number,
            origin=Origin.VERIFICATION,
        )
        for number, boxes in enumerate(found)
    )


def kept_tracks(tracks: Iterable[TrackRecord]) -> tuple[TrackRecord, ...]:
    """Return the kept tracks alone, without the links to the hidden tracks that they continue."""
    return tuple(replace(track, continues=None) for track in tracks if track.decision == "keep")


def intervals_around_candidates(
    samples: Samples, base: Fraction, found: Sequence[CompactBoxes]
) -> Iterator[Interval]:
    """Yield the time around each candidate that does not belong to a visible face in `found`."""
    near = round(CANDIDATE_SECONDS / base)
    known = {sample for face in found for sample in face}
    for pts, candidates in find_candidates(samples).items():
        if not known.issuperset(CompactBoxes((pts, face.box) for face in candidates)):
            yield pts - near, pts + near


def intervals_around_ends(
    found: Sequence[CompactBoxes], base: Fraction, newest: int | None = None
) -> Iterator[Interval]:
    """Yield the time around both ends of each visible face, and between two samples where it moved far.

    A face in the `newest` detections has no end yet.
    """
    before, after = (round(seconds / base) for seconds in (BEFORE_SECONDS, AFTER_SECONDS))
    for face in found:
        yield face[0].pts - before, face[0].pts
        if newest is None or face[-1].pts < newest:
            yield face[-1].pts, face[-1].pts + after
        for one, other in pairwise(face):
            if compute_overlap(one.box, other.box) < SAME_PLACE:
                yield one.pts, other.pts
