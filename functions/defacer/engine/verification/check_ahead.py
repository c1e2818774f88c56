"""Search redacted frames just before they are encoded, and mask the faces that are found.

Frames wait in a look-ahead buffer, so that a mask can begin before the face was detected. What is masked here is not
encoded twice.
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
from defacer.engine.rendering.box_motion import overlap
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.mask_extension import MAX_WAITING_BYTES, MaskExtension, size_of
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Openings
from defacer.engine.runtime.prefetch import usable_threads
from defacer.engine.tracking.sampling import SAME_PLACE
from defacer.engine.tracking.views import SLOT_SECONDS
from defacer.engine.verification.inspection import Detections, Inspector
from defacer.engine.verification.splicing import Interval
from defacer.engine.verification.visible_faces import (
    CONTINUES_SECONDS,
    LINK_SECONDS,
    Masks,
    candidates,
    visible_faces,
)
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, Track

# Slots begin between the frames that the first pass sampled, because faces that it missed can be there.
PHASE_SECONDS = SLOT_SECONDS / 2
AHEAD_SECONDS = 1.25  # frames wait for this long, or less where they exceed MAX_WAITING_BYTES
MAX_PENDING = 2  # unfinished searches
PAST_SECONDS = (
    CONTINUES_SECONDS + LINK_SECONDS
)  # earlier detections matter only if a visible face began there,
MAX_PAST_SECONDS = 10.0  # and after this time none does
NEAR_SECONDS = 0.1  # around a candidate every frame is searched
# And around both ends of a visible face, beyond the ends of its mask.
BEFORE_SECONDS, AFTER_SECONDS = 0.45, 0.6


@dataclass(frozen=True)
class _Frame:
    picture: av.VideoFrame
    pts: int


class CheckAhead:
    """Searches the frames of a segment as they pass through `follow`.

    `looks` are all detections by time, and `masks` the boxes that were drawn before the check. `frames` is the number
    of sampled frames, without those that were searched around a candidate.
    """

    def __init__(self, inspector: Inspector, faces: Faces, every_frame: bool):
        self.looks: Detections = {}
        self.masks = DrawnMasks()
        self.frames = 0
        self._inspector = inspector
        self._faces = faces
        self._every_frame = every_frame
        self._base = Fraction(faces.time_base)
        self._tracks = _NearTracks(faces.tracks)
        self._buffer: deque[_Frame] = deque()
        self._pending: deque[tuple[int, Future[list[Detection]]]] = deque()
        self._recent: list[int] = []  # sorted times of the detections that can still matter
        self._ends: set[int] = set()  # the first and the last frame of the segment
        self._found: tuple[CompactBoxes, ...] = ()
        self._followed: set[int] = set()  # times of detections whose faces are followed already

    def follow(
        self, frames: Iterable[av.VideoFrame], orientation: Orientation
    ) -> Iterator[tuple[av.VideoFrame, list[Box], Openings]]:
        """Yield each frame, in order, with the boxes of visible faces in it and the openings in their masks."""
        self._inspector.orientation = orientation
        hold = MaskExtension(self._faces, orientation, followed=())
        with ThreadPoolExecutor(usable_threads(), "check") as pool:
            try:
                for picture, held in hold.follow(self._released(frames, pool, hold)):
                    pts = picture.pts or 0
                    if not self._found and not held:
                        yield picture, [], Openings()
                        continue
                    kept = [track for track in self._tracks.near if track.decision == "keep"]
                    found = hidden_tracks(self._found, self._faces)
                    cover = MaskSchedule(replace(self._faces, tracks=(*kept, *found)))
                    yield picture, [*cover.boxes(pts), *held], cover.openings(pts, held)
            finally:
                pool.shutdown(cancel_futures=True)

    def _released(
        self, frames: Iterable[av.VideoFrame], pool: ThreadPoolExecutor, hold: MaskExtension
    ) -> Iterator[av.VideoFrame]:
        """Search the frames on their way through the look-ahead buffer."""
        slot, reach = None, round(AHEAD_SECONDS / self._base)
        for picture in frames:
            frame = _Frame(picture, picture.pts or 0)
            self._ends = self._ends or {frame.pts}
            self._buffer.append(frame)
            most = max(1, MAX_WAITING_BYTES // size_of(picture))
            own_slot = int((frame.pts * self._base + PHASE_SECONDS) // SLOT_SECONDS)
            if self._every_frame or own_slot != slot:
                slot = own_slot
                self._search(frame, pool)
            self._settle(MAX_PENDING, pool, hold)
            while frame.pts - self._buffer[0].pts > reach or len(self._buffer) > most:
                yield self._release(pool, hold)
        if self._buffer:
            last = self._buffer[-1]
            self._ends.add(last.pts)
            if last.pts not in self.looks and all(pts != last.pts for pts, _ in self._pending):
                self._search(last, pool)
        self._settle(0, pool, hold)
        while self._buffer:
            yield self._release(pool, hold)

    def _search(self, frame: _Frame, pool: ThreadPoolExecutor) -> None:
        self.frames += 1
        self._pending.append((frame.pts, pool.submit(self._inspector.detect, frame.picture)))

    def _release(self, pool: ThreadPoolExecutor, hold: MaskExtension) -> av.VideoFrame:
        """Take the first frame. It will be drawn into, so its search must have ended."""
        frame = self._buffer[0]
        if self._pending and self._pending[0][0] <= frame.pts:
            self._settle(0, pool, hold)
        return self._buffer.popleft().picture

    def _settle(self, most: int, pool: ThreadPoolExecutor, hold: MaskExtension) -> None:
        """Wait until at most `most` searches are unfinished, and decide again if there is something to decide.

        The number does not depend on how fast the searches are, so the masks do not either.
        """
        found: Detections = {}
        while len(self._pending) > most:
            pts, future = self._pending.popleft()
            found[pts] = future.result()
        if found:
            self._add(found)
            near = self._near_faces()
            if self._found or candidates(found, near, self.masks.at):
                self._decide(near, pool, hold)

    def _add(self, found: Detections) -> None:
        self.looks |= found
        for pts in found:
            insort(self._recent, pts)

    def _near_faces(self) -> Faces:
        """Forget what lies too far back to matter, and return the faces with the tracks that can matter."""
        now, margin = self._buffer[0].pts, self._units(PAST_SECONDS)
        starts = [face[0].pts for face in self._found if face[-1].pts >= now - margin]
        past = max(min([now - margin, *starts]), now - self._units(MAX_PAST_SECONDS))
        del self._recent[: bisect_left(self._recent, past)]
        tracks = self._tracks.between(past - margin, self._buffer[-1].pts + margin)
        return replace(self._faces, tracks=tracks)

    def _decide(self, near: Faces, pool: ThreadPoolExecutor, hold: MaskExtension) -> None:
        """Search all waiting frames near a candidate or an end of a visible face, then find the visible faces."""
        while True:
            looks = {pts: self.looks[pts] for pts in self._recent}
            self._found = visible_faces(looks, near, self.masks.at, ends=self._ends).faces
            intervals = [
                *around_candidates(looks, near, self.masks.at, self._found),
                *around_ends(self._found, self._base, self._recent[-1]),
            ]
            known = self.looks.keys() | {pts for pts, _ in self._pending}
            wanted = [
                frame
                for frame in self._buffer
                if frame.pts not in known and any(first <= frame.pts <= last for first, last in intervals)
            ]
            if not wanted:
                break
            results = pool.map(self._inspector.detect, [frame.picture for frame in wanted])
            self._add(dict(zip([frame.pts for frame in wanted], results, strict=True)))
        for track in hidden_tracks(self._found, self._faces):
            self._follow_ends(track, hold)

    def _follow_ends(self, track: Track, hold: MaskExtension) -> None:
        """Have the face followed before its first detection, and after its last one as soon as that is known."""
        if self._followed.isdisjoint(look.pts for look in track.detections):
            self._followed.add(track.start)
            hold.follow_before(track)
        if track.end < self._recent[-1] and track.end not in self._followed:
            self._followed.add(track.end)
            hold.follow_after(track)

    def _units(self, seconds: float) -> int:
        return round(seconds / self._base)


class _NearTracks:
    """The tracks around a time that only grows. A video of hours has too many to search all of them each time."""

    def __init__(self, tracks: Iterable[Track]):
        self._waiting = sorted(tracks, key=lambda track: track.start, reverse=True)
        self.near: tuple[Track, ...] = ()

    def between(self, start: int, end: int) -> tuple[Track, ...]:
        """Return the tracks with a detection from `start` to `end`."""
        near = list(self.near)
        while self._waiting and self._waiting[-1].start <= end:
            near.append(self._waiting.pop())
        self.near = tuple(track for track in near if track.end >= start)
        return self.near


def hidden_tracks(found: Sequence[CompactBoxes], faces: Faces) -> tuple[Track, ...]:
    """Return visible faces as hidden tracks with new numbers. Each is a person group of its own."""
    first = max((track.id for track in faces.tracks), default=-1) + 1
    group = max((track.group for track in faces.tracks), default=-1) + 1
    return tuple(
        Track(
            id=first + number,
            start=looks[0].pts,
            end=looks[-1].pts,
            decision="hide",
            person=None,
            reason=Reason.FOUND_BY_VERIFICATION,
            distance=None,
            margin=None,
            continues=None,
            detections=looks,
            group=group + number,
        )
        for number, looks in enumerate(found)
    )


def around_candidates(
    looks: Detections, faces: Faces, masks: Masks, found: Sequence[CompactBoxes]
) -> Iterator[Interval]:
    """Yield the time around each candidate that is not one of the visible faces that were `found`."""
    near = round(NEAR_SECONDS / Fraction(faces.time_base))
    known = {(look.pts, look.box) for face in found for look in face}
    for pts, detections in candidates(looks, faces, masks).items():
        if not known.issuperset(
            (look.pts, look.box) for look in CompactBoxes((pts, face.box) for face in detections)
        ):
            yield pts - near, pts + near


def around_ends(
    found: Sequence[CompactBoxes], base: Fraction, newest: int | None = None
) -> Iterator[Interval]:
    """Yield the time around both ends of each visible face, and wherever it moved far from one frame to the next.

    A face that is in the `newest` detections has no end yet.
    """
    before, after = (round(seconds / base) for seconds in (BEFORE_SECONDS, AFTER_SECONDS))
    for face in found:
        yield face[0].pts - before, face[0].pts
        if newest is None or face[-1].pts < newest:
            yield face[-1].pts, face[-1].pts + after
        for one, other in pairwise(face):
            if overlap(one.box, other.box) < SAME_PLACE:
                yield one.pts, other.pts
