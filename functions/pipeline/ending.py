"""The end of a job: do what its verdict says, wherever somebody else has left off, and wind up.

Whoever fails a job that is being published deletes the made result first. From then on nobody can copy it into the
output bucket, not even a holder that has stood still for hours; and then it can be seen whether somebody had before.
"""

from functions.pipeline import jobs, layout, log, store, verdict
from functions.pipeline.contracts import Failed, Manifest, ObjectRef, Published, Verdict
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.publish import Standing, publish, standing, unpublish
from functions.pipeline.settings import settings

ROUNDS = 5


def carry_out(manifest: Manifest, progress: store.Progress) -> Published | None:
    """Publish or fail the job as its verdict says; None if it failed. The verdict must be there."""
    result = None
    for _ in range(ROUNDS):
        published = store.find_json(settings().work_bucket, layout.published(manifest.job), Published)
        if published is not None:
            return published[0]
        found = verdict.find(manifest.job)
        if found is None:
            raise RetryableError("the verdict is gone: the message comes back")
        said, ref = found
        if said.end == "publish":
            try:
                if not jobs.has_failed(manifest.job):
                    result = _put_out(manifest, said, progress)
                if jobs.has_failed(manifest.job):  # it was erased
                    unpublish(manifest)
                    jobs.clean_up(manifest.job)
                    return None
                return _mark(manifest, result)
            except PermanentError as error:
                verdict.withdraw(said, ref, reason(manifest, error))
        elif said.end == "withdraw":
            _withdraw(manifest, said, ref)
        elif said.failed is not None:
            jobs.record_failure(said.failed)
            return None
    raise RetryableError(f"the verdict changed {ROUNDS} times meanwhile: the message comes back")


def call_off(
    job: str, stage: str, error: PermanentError, progress: store.Progress, source: ObjectRef | None = None
) -> None:
    """Fail the job, even if it is being published; if it is out already, do what is left of publishing it.

    To be called with the claim on the merge in hand, so that a healthy merge is not disturbed.
    """
    if not jobs.is_published(job) and jobs.fail(job, stage, error, source):
        return
    found = jobs.find_manifest(job)
    if found is None:
        raise RetryableError("a job is published that has no manifest: the message comes back")
    manifest, said = found[0], verdict.find(job)
    if said is not None and said[0].end == "publish" and not jobs.is_published(job):
        verdict.withdraw(*said, reason(manifest, error, stage))
    published = carry_out(manifest, progress)
    if published is not None:
        log.info("the job was out already", stage=stage)
        wind_up(manifest, published)


def wind_up(manifest: Manifest, published: Published) -> None:
    """Tell, delete the source if the policy says so, and what was made on the way, but for the caller's claim."""
    jobs.announce_completed(manifest, published)
    if manifest.policy.source == "delete":
        store.delete(manifest.source)
    jobs.clean_up(manifest.job)


def _put_out(manifest: Manifest, said: Verdict, progress: store.Progress) -> ObjectRef | None:
    """Publish the result with its report; None if a newer upload's are there."""
    if said.result is None or said.report is None:
        return None
    standing(manifest, manifest.report)  # what is in the way of the report is in the way of both
    result = publish(manifest, manifest.result, said.result, progress)
    if result is not None:
        publish(manifest, manifest.report, said.report, progress)
    return result


def _mark(manifest: Manifest, result: ObjectRef | None) -> Published:
    published = Published(job=manifest.job, result=result, report=manifest.report, superseded=result is None)
    name, data = layout.published(manifest.job), published.model_dump_json(indent=2).encode()
    try:
        store.write_once(settings().work_bucket, name, data)
    except store.AlreadyWrittenError as error:
        return store.read_json(error.existing, Published)
    # Here, where one of them can write it: alerts and costs count this line.
    log.info("published", video_seconds=manifest.video.duration_seconds, superseded=published.superseded)
    return published


def _withdraw(manifest: Manifest, said: Verdict, ref: ObjectRef) -> None:
    if said.result is not None:
        store.delete(said.result)
    try:
        out = standing(manifest, manifest.result)[0] in {Standing.OURS, Standing.NEWER}
    except PermanentError:  # a foreign object is in its place
        out = False
    end = {"end": "publish", "failed": None} if out else {"end": "fail"}
    verdict.replace(ref, said.model_copy(update=end))


def reason(manifest: Manifest, error: PermanentError, stage: str = "merge") -> Failed:
    """What `failed.json` will say of an error that a job is withdrawn for."""
    return Failed(job=manifest.job, source=manifest.source, stage=stage, code=error.code, message=str(error))
