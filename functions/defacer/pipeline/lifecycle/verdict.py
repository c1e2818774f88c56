"""How a job ends: the one object that decides, so that no job ever ends in two ways.

`published.json` and `failed.json` are two objects, and no precondition covers both. So before either is written, and
before anything is put into the output bucket, `verdict.json` is: once, or with its own generation as precondition.

| it is | becomes | by |
|---|---|---|
| absent | publish | merge, with the result made and checked |
| absent | fail | whoever met a permanent error, or a message that gave up |
| publish | out | who has put result and report out, or found something newer: it stays so |
| publish | withdraw | a message that gave up |
| publish | unpublish | who finds that it can't be published: a foreign object in the place of result or report |
| withdraw | publish | whoever carries it out and finds that the result is out already |
| withdraw | unpublish | whoever carries it out and finds that it is not, and never will be |
| unpublish | fail | whoever has deleted what was made, and then what of it was out |
"""

from contextlib import suppress

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Verdict
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def find(job: str) -> objects.Stored[Verdict] | None:
    return objects.find_json(settings().work_bucket, object_names.verdict(job), Verdict)


def decide(verdict: Verdict) -> Verdict:
    """Write the verdict unless there is one, and return the one that counts."""
    try:
        objects.write_once(settings().work_bucket, object_names.verdict(verdict.job), _bytes(verdict))
    except objects.AlreadyWrittenError as error:
        found = find(verdict.job)
        if found is None:
            raise RetryableError("the verdict came and went: the message comes back") from error
        return found[0]
    return verdict


def replace(ref: ObjectRef, verdict: Verdict) -> None:
    """Write it in place of that version. Nothing happens if another one is there by now: then that counts."""
    with suppress(objects.AlreadyWrittenError):
        objects.replace(ref.bucket, ref.name, _bytes(verdict), generation=ref.generation)


def change(verdict: Verdict, ref: ObjectRef, **changes: object) -> None:
    """To another end, as `replace` does it."""
    replace(ref, Verdict.model_validate({**dict(verdict), "version": 2, **changes}))


def _bytes(verdict: Verdict) -> bytes:
    return verdict.model_dump_json(indent=2).encode()
