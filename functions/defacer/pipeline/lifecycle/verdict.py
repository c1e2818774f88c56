"""The verdict of a job: the one object that decides whether the job is published or fails.

`published.json` and `failed.json` are two objects, and no precondition covers both. So `verdict.json` is written before
either of them, and before anything is written to the output bucket. Every change is a conditional write.

| state | becomes | by |
|---|---|---|
| absent | publishing | merge, with a result that is made and checked |
| absent | failing | the function that had a permanent error, or that received a dead letter |
| publishing | published_pending | the function that published result and report, or found a newer version |
| publishing | rolling_back_pending | dead_letter |
| publishing | rolling_back | the function that found a foreign object in the place of result or report |
| rolling_back_pending | publishing | the function that found the result published |
| rolling_back_pending | rolling_back | the function that deleted the made result and found it not published |
| rolling_back | failing | the function that deleted the made objects, then the published ones |

The state is also in the object's metadata, so that one listing shows it (`job_state.read_job`).
"""

from contextlib import suppress

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Verdict
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def find_verdict(job: str) -> objects.Stored[Verdict] | None:
    """Return the verdict and its version; None if the job has no verdict."""
    return objects.find_json(settings().work_bucket, object_names.verdict(job), Verdict)


def write_verdict_once(verdict: Verdict) -> Verdict:
    """Write the verdict unless the job has one, and return the one that counts."""
    name = object_names.verdict(verdict.job)
    try:
        objects.write_once(settings().work_bucket, name, _to_bytes(verdict), metadata=_metadata(verdict))
    except objects.AlreadyWrittenError as error:
        found = find_verdict(verdict.job)
        if found is None:
            raise RetryableError("verdict.json was deleted while it was read") from error
        return found.document
    return verdict


def change_verdict(verdict: Verdict, ref: ObjectRef, **changes: object) -> None:
    """Change these fields of this version. Do nothing if another version is there by now: that one counts."""
    changed = Verdict.model_validate({**dict(verdict), **changes})
    with suppress(objects.AlreadyWrittenError):
        objects.replace(
            ref.bucket,
            ref.name,
            _to_bytes(changed),
            generation=ref.generation,
            metadata=_metadata(changed),
        )


def _to_bytes(verdict: Verdict) -> bytes:
    return verdict.model_dump_json(indent=2).encode()


def _metadata(verdict: Verdict) -> dict[str, str]:
    return {object_names.OF_STATE: verdict.state}
