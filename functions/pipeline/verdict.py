"""How a job ends: the one object that decides, so that no job ever ends in two ways.

`published.json` and `failed.json` are two objects, and no precondition covers both. So before either is written, and
before anything is put into the output bucket, `verdict.json` is: once, or with its own generation as precondition.

| it is | becomes | by |
|---|---|---|
| absent | publish | merge, with the result made and checked |
| absent | fail | whoever met a permanent error, or a message that gave up |
| publish | withdraw | who finds that it can't be published: a message that gave up, a foreign object in its place |
| withdraw | publish | whoever carries it out and finds that the result is out already |
| withdraw | fail | whoever carries it out and finds that it is not, and never will be |
"""

from contextlib import suppress

from functions.pipeline import layout, store
from functions.pipeline.contracts import Failed, ObjectRef, Verdict
from functions.pipeline.errors import RetryableError
from functions.pipeline.settings import settings


def find(job: str) -> tuple[Verdict, ObjectRef] | None:
    return store.find_json(settings().work_bucket, layout.verdict(job), Verdict)


def decide(verdict: Verdict) -> Verdict:
    """Write the verdict unless there is one, and return the one that counts."""
    try:
        store.write_once(settings().work_bucket, layout.verdict(verdict.job), _bytes(verdict))
    except store.AlreadyWrittenError as error:
        found = find(verdict.job)
        if found is None:
            raise RetryableError("the verdict came and went: the message comes back") from error
        return found[0]
    return verdict


def replace(ref: ObjectRef, verdict: Verdict) -> None:
    """Write it in place of that version. Nothing happens if another one is there by now: then that counts."""
    with suppress(store.AlreadyWrittenError):
        store.replace(ref.bucket, ref.name, _bytes(verdict), generation=ref.generation)


def withdraw(verdict: Verdict, ref: ObjectRef, failed: Failed) -> None:
    """From "publish" to "withdraw", as `replace` does it."""
    replace(ref, verdict.model_copy(update={"end": "withdraw", "failed": failed}))


def _bytes(verdict: Verdict) -> bytes:
    return verdict.model_dump_json(indent=2).encode()
