"""Erase a job, or a channel with all its jobs: every version of every object, in every bucket.

First each job is marked (`failure.mark_erased`). A worker that is still writing detects the mark and deletes its
output. Then the command holds the job's publish lease, so that no deleted object is published a moment later. A job's
manifest is deleted last, and the requested job is the last one of its upload. So an interrupted command finds the rest
on its next run.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from google.cloud.storage import Blob

from defacer.pipeline import admission
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, job_state, rerender_request
from defacer.pipeline.privacy.job_lookup import Say, all_jobs, channel_of, hold_publish_lease, is_unreadable
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import pluralize

Removed = Callable[[ObjectRef], None]


@dataclass(frozen=True)
class Subject:
    """What to erase: one job, or a channel with all its jobs."""

    job: str | None = None
    channel: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the subject of `JOB` or `channels/NAME`. Raise ValueError for anything else."""
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
    """The objects to erase, in the order of deletion. `requests` are the requests for re-renders among them.

    `unreadable` are jobs whose channel is unknown. They are not erased.
    """

    jobs: tuple[str, ...]
    objects: tuple[ObjectRef, ...]
    requests: tuple[ObjectRef, ...] = ()
    unreadable: tuple[str, ...] = ()

    def count(self) -> str:
        """Return the number of objects in each bucket, as text."""
        buckets = [ref.bucket for ref in self.objects]
        parts = [f"{buckets.count(bucket)} in gs://{bucket}" for bucket in dict.fromkeys(buckets)]
        what = f"{pluralize(len(self.objects), 'object')} of {pluralize(len(self.jobs), 'job')}"
        return f"{what}: {', '.join(parts)}"


def find_objects(subject: Subject) -> Found:
    """Return the objects to erase now. Jobs that were erased completely before are not listed."""
    if subject.job is not None:
        ids, requests = _jobs_of_upload(subject.job)
        own = [
            ref
            for job in ids
            for ref in (*_published_by(job), *_source_of(job), *_work_of(job, channel_of(job)))
        ]
        return Found(ids if own or requests else (), (*own, *requests), requests)
    intake, output = _channel_objects(subject.channel or "")
    ids = _jobs_of(subject.channel or "", intake, output)
    work = [ref for job in ids for ref in _work_of(job, subject.channel)]
    unreadable = tuple(job for job in all_jobs() if job not in ids and is_unreadable(job))
    found = (*map(objects.reference, output), *map(objects.reference, intake), *work)
    return Found(ids, found, unreadable=unreadable)


def erase(subject: Subject, removed: Removed, say: Say) -> None:
    """Delete all objects of the subject, and call `removed` with each. An interrupted call can be repeated.

    Raises PermanentError if new objects keep arriving.
    """
    for _ in range(objects.MAX_CAS_RETRIES):
        found = find_objects(subject)
        if not found.objects:
            return
        for job in found.jobs:
            failure.mark_erased(job)
        for job in found.jobs:
            channel = subject.channel or channel_of(job)
            if job == subject.job:
                _delete(found.requests, removed)  # these lead to the other jobs on the next run
            with hold_publish_lease(job, say) as held:
                if subject.job is not None:
                    _delete((*_published_by(job), *_source_of(job)), removed, held.renew)
                _delete(_work_of(job, channel, with_lease=False), removed, held.renew)
            # Versions of the lease that a versioned bucket keeps.
            _delete(_work_of(job, channel, with_lease=False), lambda _: None)
        if subject.channel is not None:
            intake, output = _channel_objects(subject.channel)
            known = [blob for blob in intake if _job_started_by(blob) in (None, *found.jobs)]
            _delete(map(objects.reference, (*output, *known)), removed)
    raise PermanentError(
        ErrorCode.NOT_QUIET, "New objects keep arriving. Stop the uploads and run the same command again."
    )


def _channel_objects(channel: str) -> tuple[list[Blob], list[Blob]]:
    """Return all versions of the channel's objects in the intake bucket and in the output bucket."""
    prefix = object_names.channel_prefix(channel)
    return (
        objects.list_versions(settings().intake_bucket, prefix),
        objects.list_versions(settings().output_bucket, prefix),
    )


def _jobs_of(channel: str, intake: Iterable[Blob], output: Iterable[Blob]) -> tuple[str, ...]:
    """Return the channel's jobs, by its uploads, its results and the manifests in the work bucket."""
    ids = {job for job in map(_job_started_by, intake) if job is not None}
    ids |= {job for job in map(_job_of_result, output) if job is not None}
    ids |= {job for job in all_jobs() if job not in ids and channel_of(job) == channel}
    return tuple(sorted(ids))


def _jobs_of_upload(job: str) -> tuple[tuple[str, ...], tuple[ObjectRef, ...]]:
    """Return all jobs of the same upload, re-renders included, and the requests for re-renders.

    The job itself comes last, because its manifest leads to the others.
    """
    listed = [
        (name.upload, blob)
        for blob in objects.list_versions(settings().intake_bucket, _folder_of(job))
        if (name := object_names.parse_rerender(blob.name))
    ]
    own = next((blob for _, blob in listed if _job_started_by(blob) == job), None)
    # A worker that detected the mark can have deleted the manifest already. A request can name another channel's video.
    asked = rerender_request.video_of(objects.reference(own)) if own is not None else None
    upload = _upload_of(job) or (_first_job_of(asked) if asked else job)
    requests = [blob for of, blob in listed if of == upload or blob is own]
    ids = {job, upload, *(found for blob in requests if (found := _job_started_by(blob)))}
    # A request that was replaced or deleted is not listed, but its job exists.
    ids |= {other for other in all_jobs() if upload in (other, _upload_of(other))}
    return tuple(sorted(ids, key=lambda other: (other == job, other))), tuple(
        map(objects.reference, requests)
    )


def _upload_of(job: str) -> str | None:
    """Return the first job of the upload that this job belongs to, by its manifest."""
    source = job_state.source_of_job(job)
    return _first_job_of(source) if source else None


def _first_job_of(source: ObjectRef) -> str:
    return object_names.job_id(source.bucket, source.name, source.generation)


def _job_started_by(blob: Blob) -> str | None:
    """Return the job that an intake object starts: a video, or a request for a re-render."""
    if object_names.channel_of_input(blob.name) is None:
        return None
    return object_names.job_id(blob.bucket.name, blob.name, int(blob.generation))


def _job_of_result(blob: Blob) -> str | None:
    job = str((blob.metadata or {}).get(object_names.OF_JOB, ""))
    return job if object_names.is_job_id(job) else None


def _published_by(job: str) -> tuple[ObjectRef, ...]:
    """Return the job's own result and report. Those of a newer upload of that name belong to another job."""
    blobs = objects.list_versions(settings().output_bucket, _folder_of(job))
    return tuple(objects.reference(blob) for blob in blobs if _job_of_result(blob) == job)


def _source_of(job: str) -> tuple[ObjectRef, ...]:
    """Return the video of the job, and the confirmation of it."""
    blobs = objects.list_versions(settings().intake_bucket, _folder_of(job))
    return tuple(objects.reference(blob) for blob in blobs if _is_input_of(blob, job))


def _is_input_of(blob: Blob, job: str) -> bool:
    confirmed = object_names.parse_confirmation(blob.name)
    if confirmed is not None:
        return confirmed.job == job
    return object_names.parse_video(blob.name) is not None and _job_started_by(blob) == job


def _folder_of(job: str) -> str:
    """Return the prefix of the job's objects: its channel, or all channels if the channel is unknown."""
    channel = channel_of(job)
    return object_names.CHANNELS if channel is None else object_names.channel_prefix(channel)


def _work_of(job: str, channel: str | None, *, with_lease: bool = True) -> tuple[ObjectRef, ...]:
    """Return all versions of the job's objects in the work bucket except its mark, the manifest last.

    If its channel is unknown, its turn is searched in all channels. Without `with_lease`, the publish lease that this
    command holds is left out.
    """
    found = [
        *objects.list_all(settings().work_bucket, object_names.waiting_entry(job)),
        *admission.find_turns(job, channel),
    ]
    for blob in objects.list_versions(settings().work_bucket, object_names.job_prefix(job)):
        is_mark = blob.name == object_names.failed(job) and job_state.ERASED in (blob.metadata or {})
        is_lease = blob.name == object_names.merge_lease(job) and blob.time_deleted is None
        if not is_mark and (with_lease or not is_lease):
            found.append(objects.reference(blob))
    return tuple(sorted(found, key=lambda ref: ref.name == object_names.manifest(job)))


def _delete(refs: Iterable[ObjectRef], removed: Removed, renew: Callable[[], None] = lambda: None) -> None:
    for ref in refs:
        renew()
        objects.delete(ref)
        removed(ref)
