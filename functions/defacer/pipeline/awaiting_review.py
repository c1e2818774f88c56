"""Let a job wait for a person who confirms who stays visible, before the video is rendered.

With the policy `confirm: before_publish`, merge marks the linked faces with the end of the wait (`mark_of`), and lists
the job in `waiting/` instead of dispatching the redaction. A person confirms with one small object in the intake
bucket, which is written once. It triggers ingest as an upload does, and ingest replaces the faces by confirmed ones
without the mark. Ingest also ends the waits whose time is over. It finds them by the list, so that no one has to read
all jobs. An entry is written before a job waits, and deleted after the wait.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from defacer.pipeline import admission
from defacer.pipeline.channel import list_kept_people
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Confirmation, Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import events, job_state
from defacer.pipeline.lifecycle.lease import utc_now
from defacer.pipeline.lifecycle.ownership import read_faces_document
from defacer.pipeline.lifecycle.publishing import PublishedVersion, compare_with_published
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import pluralize
from defacer.report.edits import Edits
from defacer.report.json_lines import load_track, split_report
from defacer.report.tracks import FacesHead, TrackRecord

# Ingest ends a wait this long after its limit. A confirmation that was accepted before the limit is stored by then.
GRACE = timedelta(minutes=2)
MAX_CACHED = 4  # documents of faces
MAX_BYTES = 16 * 1024 * 1024  # of a confirmation, as of a re-render request


@dataclass(frozen=True)
class WaitingJob:
    """A job that waits for a person until `review_end`, with its faces and their tracks."""

    manifest: Manifest
    faces: FacesHead
    tracks: tuple[TrackRecord, ...]
    review_end: datetime

    @property
    def name(self) -> str:
        """The video's name for its owner."""
        return object_names.owner_name(self.manifest.source.name)


def mark_of(manifest: Manifest) -> Mapping[str, str] | None:
    """Return the metadata for the linked faces of this job: until when they wait; None if the job does not wait."""
    if manifest.policy.confirm == "never":
        return None
    end = utc_now() + timedelta(hours=manifest.policy.confirm_hours)
    return {object_names.OF_REVIEW_END: end.isoformat(timespec="seconds")}


def start_waiting(manifest: Manifest, review_end: datetime) -> None:
    """List the job as waiting, announce it, and end its turn, so that the channel's next upload starts.

    Merge then deletes the embeddings: no later decision needs them.
    """
    objects.write_once(settings().work_bucket, object_names.waiting_entry(manifest.job), b"{}")
    events.announce_waiting(manifest, review_end)
    admission.end_turn(manifest.job, manifest.channel)


def list_waiting_jobs(job: str = "") -> list[str]:
    """Return the jobs in the list, or only this job if it is listed. Some of them might not wait any more."""
    listed = objects.list_all(settings().work_bucket, f"{object_names.WAITING}{job}")
    return [found for ref in listed if (found := object_names.parse_waiting_entry(ref.name))]


def delete_entry(job: str) -> None:
    """Remove a job from the list. Call this after the job has left the state."""
    objects.delete_any(settings().work_bucket, object_names.waiting_entry(job))


def read_waiting_job(job: str) -> WaitingJob:
    """Return a waiting job with its tracks. Raise PermanentError if the job does not wait for a person."""
    found = job_state.try_read_manifest(job) if object_names.is_job_id(job) else None
    stored = job_state.find_stored_faces(job) if found else None
    if found is None or stored is None or stored.review_end is None or job_state.is_over(job):
        raise PermanentError(
            ErrorCode.NOT_WAITING,
            f"Job {job} does not wait for a review: it is not linked yet, it is confirmed, or it is over.",
        )
    return WaitingJob(found.document, *_read_tracks(job, stored.ref), stored.review_end)


@lru_cache(maxsize=MAX_CACHED)
def _read_tracks(job: str, ref: ObjectRef) -> tuple[FacesHead, tuple[TrackRecord, ...]]:
    # A version of an object never changes, and the console's page requests its parts one by one.
    document, head = read_faces_document(job, ref)
    return head, tuple(map(load_track, split_report(document)[1]))


def confirm(job: str, edits: Edits) -> None:
    """Confirm who stays visible in the video of a waiting job: the proposed tracks after these edits.

    Raises PermanentError if that is not possible, for example because another person was faster.
    """
    waiting = read_waiting_job(job)
    _require_time(waiting)
    _require_source(waiting)
    _require_newest(waiting)
    _require_valid(waiting, edits)
    data = Confirmation(job=job, token=uuid.uuid4().hex, edits=edits).model_dump_json().encode()
    if len(data) > MAX_BYTES:
        raise PermanentError(
            ErrorCode.BAD_DECISIONS,
            f"The changes to {waiting.name} are too many for one confirmation. Change fewer tracks, or publish first "
            "and change the rest then.",
        )
    name = object_names.ConfirmationName(waiting.manifest.channel, job).object_name
    try:
        objects.write_once(settings().intake_bucket, name, data)
    except objects.AlreadyWrittenError as error:
        raise PermanentError(
            ErrorCode.NOT_WAITING,
            f"Another person has already confirmed {waiting.name}, so your changes do not count. Wait until it is "
            "published, and make the changes then.",
        ) from error


def read_confirmation(ref: ObjectRef) -> Confirmation | None:
    """Return the confirmation in this object of the intake bucket; None if it is not a valid one."""
    blob = objects.find_blob(ref.bucket, ref.name, ref.generation)
    if blob is None or blob.size > MAX_BYTES:
        return None
    try:
        return objects.read_json(ref, Confirmation)
    except PermanentError:
        return None


def _require_time(waiting: WaitingJob) -> None:
    if utc_now() >= waiting.review_end:
        raise PermanentError(
            ErrorCode.REVIEW_TIMEOUT,
            f"The time to confirm {waiting.name} has passed. Upload the video again, and confirm it in time.",
        )


def _require_source(waiting: WaitingJob) -> None:
    source = waiting.manifest.source
    if objects.find_blob(source.bucket, source.name, source.generation) is None:
        raise PermanentError(
            ErrorCode.SOURCE_GONE,
            f"{waiting.name} can't be published: it was deleted or replaced after its upload. Upload the video again.",
        )


def _require_newest(waiting: WaitingJob) -> None:
    manifest = waiting.manifest
    if compare_with_published(manifest, manifest.result).version is PublishedVersion.NEWER:
        raise PermanentError(
            ErrorCode.RESULT_CHANGED,
            f"A newer upload of {waiting.name} is published, so this job publishes nothing. Review the newer job.",
        )


def _require_valid(waiting: WaitingJob, edits: Edits) -> None:
    """Raise PermanentError for a track that does not exist, or for kept tracks of a person without a picture."""
    by_id = {track.id: edits.decisions.get(track.id, track.decision) for track in waiting.tracks}
    added = range(len(by_id), len(by_id) + len(edits.added))
    if missing := sorted(edits.track_ids - set(by_id) - set(added)):
        raise PermanentError(
            ErrorCode.BAD_DECISIONS,
            f"{waiting.name} has no track {', '.join(map(str, missing))}, it has "
            f"{pluralize(len(by_id), 'track')}. Change the numbers.",
        )
    people = set(list_kept_people(waiting.manifest.channel))
    without = [
        str(track.id)
        for track in waiting.tracks
        if by_id[track.id] == "keep" and edits.people.get(track.id, track.person) not in {None, *people}
    ]
    if without:
        raise PermanentError(
            ErrorCode.TARGET_GONE,
            f"{waiting.name} keeps people whose target pictures were deleted (tracks {', '.join(without)}). "
            "Hide these tracks, or upload the pictures again.",
        )
