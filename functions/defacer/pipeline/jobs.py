"""A job's ends: is it over, fail it, tell the world. Everything here may be done twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from google.cloud.storage import Blob

from defacer.pipeline import belonging, bugs, claim, layout, log, messages, store, verdict
from defacer.pipeline.contracts import (
    FacesHead,
    Failed,
    JobEvent,
    JobEventData,
    Manifest,
    ObjectRef,
    Published,
    Verdict,
)
from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.publish import Names
from defacer.pipeline.settings import settings

CLOUDEVENTS = "application/cloudevents+json"
ANNOUNCED = {"announced": "yes"}
ERASED = "erased"
TARGET_GONE = "target-gone"
ROUNDS = 5


def is_published(job: str) -> bool:
    return store.find(settings().work_bucket, layout.published(job)) is not None


def has_failed(job: str) -> bool:
    """Whether the job has failed. If whoever failed it died before telling, this tells."""
    failed = store.find(settings().work_bucket, layout.failed(job))
    if failed is not None and not failed.metadata:
        _announce_failure(job)
    return failed is not None


def is_past_finding(job: str) -> bool:
    """Whether nobody needs findings of the job any more: looked at in the order in which that comes about."""
    return is_linked(job) or is_over(job)


def is_over(job: str) -> bool:
    return is_published(job) or has_failed(job)


def is_linked(job: str) -> bool:
    """Whether the job's faces are linked across its segments: then nobody needs its embeddings any more."""
    return store.find(settings().work_bucket, layout.faces(job)) is not None


def is_handed_on(job: str) -> bool:
    """Whether the linked faces have been handed on to be hidden: no message of the step "find" matters now."""
    return is_linked(job) and store.find(settings().work_bucket, layout.link_claim(job)) is None


def find_manifest(job: str) -> tuple[Manifest, ObjectRef] | None:
    return store.find_json(settings().work_bucket, layout.manifest(job), Manifest)


def readable_manifest(job: str) -> tuple[Manifest, ObjectRef] | None:
    """As `find_manifest`, and None for one that can't be read: for what has to end a job, or to erase it."""
    try:
        return find_manifest(job)
    except PermanentError:
        return None


def source_of(job: str) -> ObjectRef | None:
    """The job's video as its manifest names it; None if there is no manifest that can be read."""
    found = readable_manifest(job)
    return found[0].source if found else None


def open_manifest(job: str, index: int, ref: ObjectRef) -> Manifest:
    """The manifest that a message names. Raises MalformedMessageError if it is not this job's and segment's.

    Raises PermanentError if it is gone, or is none that ingest writes.
    """
    belonging.require_own(job, ref, layout.manifest(job))
    manifest = store.read_json(ref, Manifest)
    if manifest.job != job or index >= len(manifest.segments):
        raise MalformedMessageError(
            f"a message for segment {index} of job {job} names the manifest {ref}, which has "
            f"{len(manifest.segments)} segments of job {manifest.job}"
        )
    belonging.require_own_objects(manifest)
    return manifest


def read_faces(job: str, ref: ObjectRef | None) -> tuple[bytes, FacesHead]:
    """The faces that a message names, as they are stored, and their head: all of them would fill the memory.

    Raises MalformedMessageError if they are not this job's, PermanentError if they are gone or no such document.
    """
    ref = belonging.require_own(job, ref, layout.faces(job))
    data = store.read(ref)
    return data, store.parsed(data.partition(b',"shots":')[0] + b"}", ref, FacesHead)


@contextmanager
def failing(
    job: str,
    stage: str,
    source: ObjectRef | None = None,
    is_past: Callable[[str], bool] = is_published,
    piece: str = "",
) -> Iterator[None]:
    """Fail the job if the block raises a PermanentError, which then has been dealt with.

    A programming error in the block fails it too, after a few attempts at the same `piece` (see `bugs.counted`).

    `is_past` tells whether a quicker delivery has brought the job past this stage: then the error is only what
    this one met by being late, such as an input that was deleted because nobody needed it any more. The message
    comes back, and finds out at its start that it is too late, and what of its own is to be deleted.
    """
    with log.bound(job=job):
        try:
            with bugs.counted(job, stage, piece):
                yield
        except MalformedMessageError:
            raise
        except PermanentError as error:
            if is_past(job):
                raise RetryableError(
                    "the job is past this stage: what this one met does not matter"
                ) from error
            if not fail(job, stage, error, source):
                # Whoever publishes it may die, and this may be the only message that is left.
                raise RetryableError("the job is being published: the message comes back") from error


def fail(job: str, stage: str, error: PermanentError, source: ObjectRef | None = None) -> bool:
    """End the job, unless it is being published: then what went wrong does not matter, and this returns False.

    The first reason counts. `source` is needed only where there may be no manifest yet that names it.
    """
    source = source_of(job) or source
    failed = Failed(job=job, source=source, stage=stage, code=error.code, message=str(error))
    said = verdict.decide(Verdict(job=job, end="fail", failed=failed))
    if said.end == "fail" and said.failed is not None:
        log.error("the job failed", error, stage=stage)
        record_failure(said.failed)
        return True
    log.info("the job is being published: what this one met does not matter", code=error.code)
    return False


def record_failure(failed: Failed) -> None:
    """What the verdict "fail" asks for: `failed.json`, the event, the clean-up."""
    name, data = layout.failed(failed.job), failed.model_dump_json(indent=2).encode()
    try:
        store.write_once(settings().work_bucket, name, data)
    except store.AlreadyWrittenError:
        log.info("the job had failed already")
    _announce_failure(failed.job)


def mark_erased(job: str) -> None:
    """End the job with a `failed.json` that says nothing about it, in place of one that is there already.

    Whoever is still at it, or gets a message of it, finds this, stops and cleans up. So it has to stay as long as
    Pub/Sub may keep such a message. There is no event: it would name what is being erased.
    """
    name = layout.failed(job)
    message = (
        "It was erased on request. Only this note is left, which keeps late messages from starting it again."
    )
    failed = Failed(job=job, source=None, stage="erase", code=ERASED, message=message)
    for _ in range(ROUNDS):
        there = store.find(settings().work_bucket, name)
        if there is not None and _is_erased(there):
            return
        try:
            store.replace(
                settings().work_bucket,
                name,
                failed.model_dump_json(indent=2).encode(),
                generation=int(there.generation) if there else 0,
                metadata={**ANNOUNCED, ERASED: "yes"},
            )
        except store.AlreadyWrittenError:
            continue
        return
    raise RetryableError(f"failed.json was written by others {ROUNDS} times: try again")


def _is_erased(failed: Blob) -> bool:
    return ERASED in (failed.metadata or {})


def clean_up(job: str) -> None:
    """Delete what nobody needs of a job that is over, its embeddings first. Whoever comes late does it again.

    Its manifest and its end stay, and the work if the policy says so, but never embeddings. Of an erased job only
    the mark stays, and no manifest that keeps somebody whose pictures were gone before it was there. The claim on the
    merge stays where it says that a published job is to be wound up, and where whoever erases the job may hold it.
    """
    bucket = settings().work_bucket
    there = {blob.name: blob for blob in store.list_blobs(bucket, layout.job_prefix(job))}
    stays = {layout.failed(job), layout.merge_claim(job)}
    is_erased = layout.failed(job) in there and _is_erased(there[layout.failed(job)])
    if not is_erased:
        stays |= {layout.verdict(job), layout.published(job)}
        if layout.failed(job) not in there or not _names_who_is_gone(job):
            stays.add(layout.manifest(job))
        found = readable_manifest(job) if layout.manifest(job) in there else None
        if found is not None and found[0].policy.work == "keep":
            work = (layout.faces(job), layout.segments_prefix(job), layout.claims_prefix(job))
            stays |= {name for name in there if name.startswith(work)}
    for name in sorted(there.keys() - stays, key=lambda name: (not layout.holds_embeddings(name), name)):
        store.delete_any(bucket, name)
    if is_erased:
        claim.delete_expired(bucket, layout.merge_claim(job))
    elif layout.merge_claim(job) in there and layout.published(job) not in there:
        store.delete_any(bucket, layout.merge_claim(job))


def _names_who_is_gone(job: str) -> bool:
    try:
        failed = store.find_json(settings().work_bucket, layout.failed(job), Failed)
    except PermanentError:
        return False
    return failed is not None and failed[0].code == TARGET_GONE


def forget_embeddings(job: str) -> None:
    """Delete the targets' embeddings and those of every face that was seen: none outlives its use."""
    for prefix in (layout.findings_prefix(job), layout.gallery_prefix(job)):
        store.delete_all(settings().work_bucket, prefix)


def announce_planned(manifest: Manifest) -> None:
    data = JobEventData(
        job=manifest.job,
        channel=manifest.channel,
        source=manifest.source,
        segments=len(manifest.segments),
    )
    _publish(JobEvent(id=f"{manifest.job}-planned", type="job.planned", subject=manifest.job, data=data))


def announce_completed(names: Names, published: Published, segments: int | None) -> None:
    data = JobEventData(
        job=names.job,
        channel=names.channel,
        source=names.source,
        result=published.result,
        report=None if published.superseded else published.report,
        message=_overtaken(names) if published.superseded else None,
        segments=segments,
    )
    _publish(JobEvent(id=f"{names.job}-completed", type="job.completed", subject=names.job, data=data))


def _overtaken(names: Names) -> str:
    what = "upload of this video" if names.request is None else "upload or rendering of this video"
    return f"A newer {what} was published before."


def _announce_failure(job: str) -> None:
    """Tell why the job failed, then note on `failed.json` that it was told and cleaned up after."""
    try:
        recorded = store.find_json(settings().work_bucket, layout.failed(job), Failed)
    except PermanentError as error:
        log.error("a job failed, and why can't be read: there is nothing to tell", error)
        clean_up(job)
        return
    if recorded is None:
        raise RetryableError("failed.json is gone between writing and reading it: the message comes back")
    failed, ref = recorded
    if failed.code == ERASED:
        clean_up(job)
        return
    channel = layout.channel_of_input(failed.source.name) if failed.source else None
    if failed.source is None or channel is None:
        log.error("a job failed of which no manifest is left: there is no channel to tell")
    else:
        data = JobEventData(
            job=job, channel=channel, source=failed.source, code=failed.code, message=failed.message
        )
        _publish(JobEvent(id=f"{job}-failed", type="job.failed", subject=job, data=data))
    clean_up(job)
    store.mark(ref, ANNOUNCED)


def _publish(event: JobEvent) -> None:
    # The attribute is what the CloudEvents binding for Pub/Sub asks of its structured mode.
    messages.publish(settings().job_events_topic, event.type, [event], **{"content-type": CLOUDEVENTS})
