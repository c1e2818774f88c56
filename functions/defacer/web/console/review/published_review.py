"""Load a published job with its report and its pending edits, or a job that waits for a person."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from functools import cached_property, lru_cache
from threading import Lock
from typing import Annotated

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from defacer.pipeline import awaiting_review
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import rerender_request
from defacer.pipeline.lifecycle.job_status import read_job_status
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.track_splits import without_parts
from defacer.report.tracks import Reason
from defacer.web.console.jobs import require_job

MAX_REPORT_BYTES = 32 * 1024 * 1024  # the whole report is in memory
MAX_CACHED_REPORTS = 4  # the page requests the crops and the detections of one report many times
NO_TRACK = -1  # no edit has this number
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_reading = Lock()


@dataclass(frozen=True)
class PendingTrack:
    """A track that a pending request adds, and its id in the edits of that request."""

    number: int
    track: AddedTrack


@dataclass(frozen=True)
class Review:
    """A published job with its current report. `pending` are requested edits that are not published yet.

    A job that waits for a person until `review_end` has no result, and its report is the proposal.
    """

    channel: str
    job: str
    manifest: Manifest
    report: JobReport
    has_source: bool
    pending: Edits = field(default_factory=Edits)
    review_end: datetime | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a person has to confirm who stays visible, before anything is rendered."""
        return self.review_end is not None

    @property
    def version(self) -> str:
        """Identifies the state that a page shows, so that an outdated request can be refused."""
        requested = hashlib.sha256(self.pending.to_bytes()).hexdigest()[:16]
        if self.is_waiting:
            return f"{self.report.job}-proposal"
        return f"{self.report.job}-{requested}" if self.pending else self.report.job

    @property
    def duration(self) -> float:
        """The seconds from the first frame to the end, and at least to the last frame and the last detection.

        The container of a video can have no duration.
        """
        ends = [track.end for track in self.report.tracks]
        if self.report.faces.end is not None:
            ends.append(self.report.faces.end)
        last = max(map(self.to_seconds, ends), default=0.0)
        return max(self.manifest.video.duration_seconds or 0.0, last, 0.001)

    def to_seconds(self, pts: int) -> float:
        """Return the time as a player counts it, from the first frame on, to a microsecond."""
        return round(float((pts - self.manifest.video.start_pts) * self._time_base), 6)

    def to_pts(self, seconds: float) -> int:
        """Return the time in the report's unit. Raise ValueError or OverflowError for a time that is not finite."""
        return self.manifest.video.start_pts + round(seconds / self._time_base)

    @cached_property
    def _time_base(self) -> Fraction:
        return Fraction(self.report.faces.time_base)

    @cached_property
    def added(self) -> dict[int, PendingTrack]:
        """The tracks that a pending request adds, except published ones. Their ids are after those of the report."""
        pending, published = self.pending, {track.id: track for track in self.report.tracks}
        next_id, added = 1 + max(published, default=-1), dict[int, PendingTrack]()
        for number, track in enumerate(pending.added, start=pending.first_id or 0):
            other = published.get(number)
            if other is None or not track.is_track(other):
                boxes = without_parts(track.detections, number, pending, track)
                added[next_id + len(added)] = PendingTrack(number, replace(track, detections=boxes))
        return added

    def number_of(self, track: int) -> int:
        """Return the track's id in the pending edits.

        Return NO_TRACK for a track that the check of a result found, if an added track has its id there.
        """
        if track in self.added:
            return self.added[track].number
        return NO_TRACK if any(track == other.number for other in self.added.values()) else track

    @cached_property
    def groups(self) -> dict[int, int]:
        """The person group of each track after the pending edits, also of tracks that a pending request adds."""
        pending, tracks = self.pending.groups, self.report.tracks
        groups = {track.id: pending.get(self.number_of(track.id), track.group) for track in tracks}
        next_group = 1 + max((track.group for track in tracks), default=-1)
        for place, (number, item) in enumerate(self.added.items()):
            group = next_group + place if item.track.group is None else item.track.group
            groups[number] = pending.get(item.number, group)
        return groups

    def card_of(self, track: int, regrouped: Mapping[int, int]) -> set[int]:
        """Return the tracks in the person group of this track, after changes to groups that are not requested yet."""
        groups = self.groups | {number: group for number, group in regrouped.items() if number in self.groups}
        return {number for number, group in groups.items() if group == groups.get(track)} | {track}

    def has_withdrawn(self, tracks: Collection[int]) -> bool:
        """Return whether one of these tracks, or of the other tracks of their groups, shows a forgotten person."""
        groups = {track.group for track in self.report.tracks if track.id in tracks}
        return any(
            track.reason == Reason.CONSENT_WITHDRAWN and (track.id in tracks or track.group in groups)
            for track in self.report.tracks
        )

    def boxes_of(self, wanted: Collection[int]) -> dict[int, CompactBoxes]:
        """Return the boxes of these tracks, also of tracks that a pending request adds. Unknown ids are left out."""
        added = {number: pending.track.detections for number, pending in self.added.items()}
        published = {
            track.id: without_parts(track.detections, self.number_of(track.id), self.pending)
            for track in self.report.tracks
        }
        return {track: boxes for track, boxes in {**added, **published}.items() if track in wanted}


def parse_track_id(text: str) -> int:
    """Return the id of a track in a URL, or NO_TRACK for any other text."""
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else NO_TRACK


def load_review(request: Request) -> Review:
    """Return the review of the job in the request's path.

    Raises HTTPException 409 unless it is published or waits for a person.
    """
    channel, job = require_job(request)
    status = read_job_status(job, None)
    if status.is_waiting_for_review:
        return build_waiting_review(channel, job)
    if not status.has_result or status.manifest is None:
        raise HTTPException(
            409,
            "This job can't be reviewed now: it is not published yet, it failed, or another person has confirmed it. "
            "See its state in the list of jobs.",
        )
    return build_review(channel, job, status.manifest)


def build_review(channel: str, job: str, manifest: Manifest) -> Review:
    """Read the published report. Raise PermanentError if it is missing, too large, or of another upload."""
    report = read_published_report(find_report(job, manifest))
    if report.source != manifest.source:
        raise PermanentError(
            ErrorCode.RESULT_CHANGED,
            "A newer upload of this name replaced this result. Review the newer job.",
        )
    has_source = is_stored(manifest.source)
    return Review(channel, job, manifest, report, has_source, rerender_request.pending(manifest.source))


def build_waiting_review(channel: str, job: str) -> Review:
    """Read the proposal of a waiting job. Raise PermanentError if the job does not wait, or has too many tracks."""
    blob = objects.find_blob(settings().work_bucket, object_names.faces(job))
    if blob is not None and blob.size > MAX_REPORT_BYTES:
        raise PermanentError(
            ErrorCode.REPORT_TOO_LARGE,
            f"This video has more tracks than a page can show. Run defacer job confirm {job} to list and confirm them.",
        )
    waiting = awaiting_review.read_waiting_job(job)
    manifest = waiting.manifest
    proposal = JobReport(
        job=job,
        source=manifest.source,
        result=manifest.result,
        policy=manifest.policy,
        targets=manifest.targets,
        frames=waiting.faces.frames,
        audio_packets=0,
        fingerprint="",
        dropped=(),
        segments=(),
        faces=waiting.faces,
        tracks=waiting.tracks,
    )
    return Review(channel, job, manifest, proposal, is_stored(manifest.source), review_end=waiting.review_end)


def find_report(job: str, manifest: Manifest) -> ObjectRef:
    """Return the published report. Raise PermanentError if it is missing or too large."""
    blob = objects.find_blob(settings().output_bucket, manifest.report)
    if blob is None:
        raise PermanentError(ErrorCode.RESULT_GONE, "The result was deleted. Upload the video again.")
    if blob.size > MAX_REPORT_BYTES:
        raise PermanentError(
            ErrorCode.REPORT_TOO_LARGE,
            "This video has more tracks than a page can show. Its result and its report are published. The report "
            f"lists the tracks. Run defacer job rerender {job} --hide TRACK to change a decision.",
        )
    return objects.reference(blob)


def is_stored(ref: ObjectRef) -> bool:
    """Return whether this version of the object exists."""
    return objects.find_blob(ref.bucket, ref.name, ref.generation) is not None


def read_published_report(ref: ObjectRef) -> JobReport:
    """Return the report, which has no picture of a face. One thread reads it, and others wait for the cached one."""
    with _reading:
        return _read_report(ref)


@lru_cache(maxsize=MAX_CACHED_REPORTS)
def _read_report(ref: ObjectRef) -> JobReport:
    # A version of an object never changes.
    return objects.read_report(ref)
