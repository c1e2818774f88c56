"""The end of a job: do what its verdict says, wherever somebody else has left off, and wind up.

Whoever fails a job that is being published deletes the made result first. From then on nobody can begin to copy it
into the output bucket, not even a holder that has stood still for hours; and then it can be seen whether somebody had
before. A copy that was under way in that moment may still land. Whoever made it sees the verdict then and takes it
back, as does every later message to merge: it may be out for a moment, complete and checked, and does not stay.
"""

from defacer.pipeline import log, programming_errors
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Published, Verdict
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import cleanup, events, failure, job_state, verdict
from defacer.pipeline.lifecycle.publishing import (
    JobIdentities,
    JobIdentity,
    PublishedVersion,
    compare_with_published,
    publish,
    unpublish,
)
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

MAX_CAS_RETRIES = 8


def apply_verdict(names: JobIdentity, progress: objects.Progress) -> Published | None:
    """Publish or fail the job as its verdict says; None if it failed. The verdict must be there."""
    for _ in range(MAX_CAS_RETRIES):
        published = objects.find_json(settings().work_bucket, object_names.published(names.job), Published)
        if published is not None:
            return published[0]
        found = verdict.find(names.job)
        if (found is None or found[0].end in ("publish", "out")) and _was_erased(names):
            return None
        if found is None:
            raise RetryableError("the verdict is gone: the message comes back")
        said, ref = found
        if said.end == "publish":
            try:
                _publish(names, said, ref, progress)
            except RetryableError:
                _was_erased(names)  # no later message could tell where its copy went
                raise
        elif said.end == "out":
            return _mark(names, said.result)
        elif said.end == "withdraw":
            _withdraw(names, said, ref)
        elif said.end == "unpublish":
            _unpublish(names, said, ref)
        elif said.failed is not None:
            unpublish(names)
            failure.record_failure(said.failed)
            return None
    raise RetryableError(f"the verdict changed {MAX_CAS_RETRIES} times meanwhile: the message comes back")


def abort_job(
    job: str, stage: str, error: PermanentError, progress: objects.Progress, source: ObjectRef | None = None
) -> None:
    """Fail the job, even if it is being published; if it is out already, do what is left of publishing it.

    To be called with the claim on the merge in hand, so that a healthy merge is not disturbed.
    """
    if not job_state.is_published(job) and failure.fail_job(job, stage, error, source):
        return
    said = verdict.find(job)
    names = _names_of(job, said[0] if said else None)
    if said is not None and said[0].end == "publish" and not job_state.is_published(job):
        verdict.change(*said, end="withdraw", failed=failure_record(names, error, stage))
    published = apply_verdict(names, progress)
    if published is not None:
        log.info("the job was out already", stage=stage)
        finalize(names, published)


def clean_up(job: str) -> None:
    """Of a job that is over: as `jobs.clean_up`, and what a copy put out that was under way when it was taken back."""
    try:
        said = verdict.find(job)
    except PermanentError:  # nobody can tell any more what it put out, but embeddings go
        said = None
    if (
        said is not None
        and said[0].end == "fail"
        and said[0].result is not None
        and said[0].source is not None
    ):
        names = JobIdentities.of(job, said[0].source, said[0].request)
        if names is not None:
            unpublish(names)
    cleanup.clean_up(job)


def finalize(names: JobIdentity, published: Published) -> None:
    """Tell, delete the source if the policy says so, and what was made on the way, but for the caller's claim."""
    manifest = names if isinstance(names, Manifest) else None
    events.announce_completed(names, published, len(manifest.segments) if manifest else None)
    if manifest is not None and manifest.policy.source_retention == "delete":
        objects.delete(names.source)
    cleanup.clean_up(names.job)


def failure_record(names: JobIdentity, error: PermanentError, stage: str = "merge") -> Failed:
    """What `failed.json` will say of an error that a job is withdrawn for."""
    return Failed(job=names.job, source=names.source, stage=stage, code=error.code, message=str(error))


def _names_of(job: str, said: Verdict | None) -> JobIdentity:
    """By the manifest, or by the verdict if that is gone or can't be read."""
    found = job_state.try_read_manifest(job)
    if found is not None:
        return found[0]
    names = JobIdentities.of(job, said.source, said.request) if said and said.source else None
    if names is None:
        raise RetryableError("a job is published that has no manifest: the message comes back")
    return names


def _was_erased(names: JobIdentity) -> bool:
    """Whether it was erased while it was being published; then what it put out is taken back."""
    if not job_state.has_failed(names.job):
        return False
    unpublish(names)
    cleanup.clean_up(names.job)
    return True


def _publish(names: JobIdentity, said: Verdict, ref: ObjectRef, progress: objects.Progress) -> None:
    """From "publish" to "out": put the result out with its report. It may turn out that something is in the way."""
    result = None  # something newer is there
    try:
        with programming_errors.counted(names.job, "merge"):
            if said.result is not None and said.report is not None:
                compare_with_published(names, names.report)  # an object that blocks the report blocks both
                result = publish(names, names.result, said.result, progress)
                if result is not None:
                    publish(names, names.report, said.report, progress)
    except PermanentError as error:
        verdict.change(said, ref, end="unpublish", failed=failure_record(names, error))
        return
    verdict.change(said, ref, end="out", result=result)


def _mark(names: JobIdentity, result: ObjectRef | None) -> Published:
    published = Published(job=names.job, result=result, report=names.report, superseded=result is None)
    name, data = object_names.published(names.job), published.model_dump_json(indent=2).encode()
    try:
        objects.write_once(settings().work_bucket, name, data)
    except objects.AlreadyWrittenError as error:
        return objects.read_json(error.existing, Published)
    # Here, where one of them can write it: alerts and costs count this line.
    seconds = names.video.duration_seconds if isinstance(names, Manifest) else None
    log.info("published", video_seconds=seconds, superseded=published.superseded)
    return published


def _withdraw(names: JobIdentity, said: Verdict, ref: ObjectRef) -> None:
    """Back to "publish" if the result is out, else to "unpublish"."""
    if said.result is not None:
        objects.delete(said.result)
    try:
        out = compare_with_published(names, names.result)[0] in {
            PublishedVersion.OURS,
            PublishedVersion.NEWER,
        }
    except PermanentError:  # a foreign object is in its place
        out = False
    if out:
        verdict.change(said, ref, end="publish", failed=None)
    else:
        verdict.change(said, ref, end="unpublish")


def _unpublish(names: JobIdentity, said: Verdict, ref: ObjectRef) -> None:
    """To "fail", when nothing can be put out any more and nothing is."""
    for made in (said.result, said.report):
        if made is not None:
            objects.delete(made)
    unpublish(names)
    verdict.change(said, ref, end="fail")
