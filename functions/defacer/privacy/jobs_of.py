"""Which jobs there are of a channel, and being alone with one: nobody publishes it meanwhile."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from defacer.pipeline import jobs, layout, store
from defacer.pipeline.claim import ClaimedError, Hold, Terms, hold
from defacer.pipeline.contracts import Failed
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings

Say = Callable[[str], None]
# A holder that lives stops by itself after one delivery's time, a dead one's lease runs out sooner.
LOOK_AGAIN_SECONDS = 0.5
A_DAY = 24 * 3600.0


def all_jobs() -> list[str]:
    """Every job that has left anything in the work bucket."""
    folders = store.list_folders(settings().work_bucket, layout.JOBS)
    ids = (folder.removeprefix(layout.JOBS).removesuffix("/") for folder in folders)
    return [job for job in ids if layout.is_job_id(job)]


def channel_of(job: str) -> str | None:
    """The channel that a job is of, by its manifest or, where it got none, by how it failed."""
    found = jobs.readable_manifest(job)
    if found is not None:
        return found[0].channel
    try:
        failed = store.find_json(settings().work_bucket, layout.failed(job), Failed)
    except PermanentError:
        return None
    source = failed[0].source if failed else None
    return layout.channel_of_input(source.name) if source else None


def is_unreadable(job: str) -> bool:
    """Whether nothing says of which channel the job is, because what would can't be read."""
    try:
        if jobs.find_manifest(job) is None:
            store.find_json(settings().work_bucket, layout.failed(job), Failed)
    except PermanentError:
        return channel_of(job) is None
    return False


@contextmanager
def alone(job: str, say: Say) -> Iterator[Hold]:
    """Hold the claim on publishing the job; wait for whoever holds it now."""
    terms = Terms(f"privacy-{uuid.uuid4().hex}", settings().lease_seconds, A_DAY)
    with ExitStack() as stack:
        waiting = False
        while True:
            try:
                held = stack.enter_context(hold(settings().work_bucket, layout.merge_claim(job), terms))
                break
            except ClaimedError:
                if not waiting:
                    say(f"Job {job} is being joined right now: waiting until that has stopped.")
                waiting = True
                time.sleep(LOOK_AGAIN_SECONDS)
        yield held
