"""Erase a job, or a channel with all its jobs: every version of every object, in every bucket.

First each job is marked (`jobs.mark_erased`): whoever is at it, or comes late, finds the mark and deletes what it
wrote. Then its claim on publishing is taken, so that what is deleted is not published a moment later. A job's
manifest goes last, and that of the job that is asked for after all that was made of the same upload: as long as there
is something left, it is found again, and the command goes on from there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from google.cloud.storage import Blob

from defacer.commands.privacy.job_lookup import Say, all_jobs, channel_of, hold_publish_lease, is_unreadable
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, job_state, rerender_request
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import pluralize

MAX_CAS_RETRIES = 5
Removed = Callable[[ObjectRef], None]


@dataclass(frozen=True)
class Subject:
    """What to erase: one job, or a channel with all its jobs."""

    job: str | None = None
    channel: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `JOB` or `channels/NAME`. Raises ValueError for anything else."""
        if object_names.is_job_id(text):
            return cls(job=text)
        folder, _, channel = text.partition("/")
        if folder == "channels" and channel and "/" not in channel:
            return cls(channel=channel)
        raise ValueError(
            f"{text!r} is neither a job, which has {object_names.JOB_ID_LENGTH} hex digits, nor channels/NAME"
        )


@dataclass(frozen=True)
class Found:
    """What there is to erase; the order is that of deleting. `requests` are those of the objects.

    `unreadable` are jobs of which nothing tells whether they are the channel's: they are left.
    """

    jobs: tuple[str, ...]
    objects: tuple[ObjectRef, ...]
    requests: tuple[ObjectRef, ...] = ()
    unreadable: tuple[str, ...] = ()

    def count(self) -> str:
        """In words: how many objects in which bucket."""
        buckets = [ref.bucket for ref in self.objects]
        parts = [f"{buckets.count(bucket)} in gs://{bucket}" for bucket in dict.fromkeys(buckets)]
        what = f"{pluralize(len(self.objects), 'object')} of {pluralize(len(self.jobs), 'job')}"
        return f"{what}: {', '.join(parts)}"


def look(subject: Subject) -> Found:
    """What there is to erase now. A job that was erased before and left nothing is not there."""
    if subject.job is not None:
        ids, requests = _renderings(subject.job)
        own = [ref for job in ids for ref in (*_published_by(job), *_source_of(job), *_work_of(job))]
        return Found(ids if own or requests else (), (*own, *requests), requests)
    intake, output = _channel_objects(subject.channel or "")
    ids = _jobs_of(subject.channel or "", intake, output)
    work = [ref for job in ids for ref in _work_of(job)]
    unreadable = tuple(job for job in all_jobs() if job not in ids and is_unreadable(job))
    found = (*map(objects.reference, output), *map(objects.reference, intake), *work)
    return Found(ids, found, unreadable=unreadable)


def erase(subject: Subject, removed: Removed, say: Say) -> None:
    """Delete all there is; `removed` is told each object. May be done again, and goes on where it was.

    Raises PermanentError if there is always something new.
    """
    for _ in range(MAX_CAS_RETRIES):
        found = look(subject)
        if not found.objects:
            return
        for job in found.jobs:
            failure.mark_erased(job)
        for job in found.jobs:
            if job == subject.job:
                _delete(found.requests, removed)  # by these the other jobs are found again
            with hold_publish_lease(job, say) as held:
                if subject.job is not None:
                    _delete((*_published_by(job), *_source_of(job)), removed, held.renew)
                _delete(_work_of(job, but_claim=True), removed, held.renew)
            _delete(
                _work_of(job, but_claim=True), lambda _: None
            )  # versions that a bucket keeps of the claim
        if subject.channel is not None:
            intake, output = _channel_objects(subject.channel)
            known = [blob for blob in intake if _job_of_upload(blob) in (None, *found.jobs)]
            _delete(map(objects.reference, (*output, *known)), removed)
    raise PermanentError(
        ErrorCode.NOT_QUIET, "Something new arrives all the time. Stop the uploads, and run this again."
    )


def _channel_objects(channel: str) -> tuple[list[Blob], list[Blob]]:
    """All versions of all that lies in the channel's folder, in the intake and in the output."""
    prefix = object_names.channel_prefix(channel)
    return (
        objects.list_versions(settings().intake_bucket, prefix),
        objects.list_versions(settings().output_bucket, prefix),
    )


def _jobs_of(channel: str, intake: Iterable[Blob], output: Iterable[Blob]) -> tuple[str, ...]:
    """The channel's jobs: by what was uploaded, by what was published, and by what the work bucket says."""
    ids = {job for job in map(_job_of_upload, intake) if job is not None}
    ids |= {job for job in map(_job_of_result, output) if job is not None}
    ids |= {job for job in all_jobs() if job not in ids and channel_of(job) == channel}
    return tuple(sorted(ids))


def _renderings(job: str) -> tuple[tuple[str, ...], tuple[ObjectRef, ...]]:
    """The jobs of the same upload, this one and all that rendered it again, and the requests to do so.

    What shows the people of a video is the one upload's, whichever job made it. The job itself comes last: by its
    manifest the others are found.
    """
    listed = [
        (name.upload, blob)
        for blob in objects.list_versions(settings().intake_bucket, _folder_of(job))
        if (name := object_names.parse_rerender(blob.name))
    ]
    own = next((blob for _, blob in listed if _job_of_upload(blob) == job), None)
    # Its manifest may be gone already: whoever found the mark has cleaned up. A request may name another channel's.
    asked = rerender_request.video_of(objects.reference(own)) if own is not None else None
    upload = _upload_of(job) or (_begun_by(asked) if asked else job)
    requests = [blob for of, blob in listed if of == upload or blob is own]
    ids = {job, upload, *(found for blob in requests if (found := _job_of_upload(blob)))}
    # A request that a later one replaced, or that somebody deleted, is not listed, but its job is there.
    ids |= {other for other in all_jobs() if upload in (other, _upload_of(other))}
    return tuple(sorted(ids, key=lambda other: (other == job, other))), tuple(
        map(objects.reference, requests)
    )


def _upload_of(job: str) -> str | None:
    """The job that the upload began which this one is of, by its manifest."""
    source = job_state.source_of_job(job)
    return _begun_by(source) if source else None


def _begun_by(source: ObjectRef) -> str:
    return object_names.job_id(source.bucket, source.name, source.generation)


def _job_of_upload(blob: Blob) -> str | None:
    """The job that an intake object begins: a video, or a request to render one again."""
    if object_names.channel_of_input(blob.name) is None:
        return None
    return object_names.job_id(blob.bucket.name, blob.name, int(blob.generation))


def _job_of_result(blob: Blob) -> str | None:
    job = str((blob.metadata or {}).get(object_names.OF_JOB, ""))
    return job if object_names.is_job_id(job) else None


def _published_by(job: str) -> tuple[ObjectRef, ...]:
    """The job's own result and report; a newer upload's under the same name are not the job's."""
    blobs = objects.list_versions(settings().output_bucket, _folder_of(job))
    return tuple(objects.reference(blob) for blob in blobs if _job_of_result(blob) == job)


def _source_of(job: str) -> tuple[ObjectRef, ...]:
    blobs = objects.list_versions(settings().intake_bucket, _folder_of(job))
    videos = (blob for blob in blobs if object_names.parse_video(blob.name))
    return tuple(objects.reference(blob) for blob in videos if _job_of_upload(blob) == job)


def _folder_of(job: str) -> str:
    """Where to look for what the job read and wrote; everywhere, if nothing says of which channel it is."""
    channel = channel_of(job)
    return object_names.CHANNELS if channel is None else object_names.channel_prefix(channel)


def _work_of(job: str, *, but_claim: bool = False) -> tuple[ObjectRef, ...]:
    """All versions of the job's objects but its mark, and but the claim that `alone` holds; the manifest last."""
    found = []
    for blob in objects.list_versions(settings().work_bucket, object_names.job_prefix(job)):
        is_mark = blob.name == object_names.failed(job) and job_state.ERASED in (blob.metadata or {})
        is_claim = blob.name == object_names.merge_lease(job) and blob.time_deleted is None
        if not is_mark and not (is_claim and but_claim):
            found.append(objects.reference(blob))
    return tuple(sorted(found, key=lambda ref: ref.name == object_names.manifest(job)))


def _delete(refs: Iterable[ObjectRef], removed: Removed, keep: Callable[[], None] = lambda: None) -> None:
    for ref in refs:
        keep()
        objects.delete(ref)
        removed(ref)
