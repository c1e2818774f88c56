"""Which jobs there are of a channel, and being alone with one: nobody publishes it meanwhile."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import job_state
from defacer.pipeline.lifecycle.lease import HeldLease, LeaseOptions, LeaseTakenError, acquire_lease
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

Say = Callable[[str], None]
# A holder that lives stops by itself after one delivery's time, a dead one's lease runs out sooner.
LOOK_AGAIN_SECONDS = 0.5
A_DAY = 24 * 3600.0


def all_jobs() -> list[str]:
    """Every job that has left anything in the work bucket."""
    folders = objects.list_folders(settings().work_bucket, object_names.JOBS)
    ids = (folder.removeprefix(object_names.JOBS).removesuffix("/") for folder in folders)
    return [job for job in ids if object_names.is_job_id(job)]


def channel_of(job: str) -> str | None:
    """The channel that a job is of, by its manifest or, where it got none, by how it failed."""
    found = job_state.try_read_manifest(job)
    if found is not None:
        return found[0].channel
    try:
        failed = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError:
        return None
    source = failed[0].source if failed else None
    return object_names.channel_of_input(source.name) if source else None


def is_unreadable(job: str) -> bool:
    """Whether nothing says of which channel the job is, because what would can't be read."""
    try:
        if job_state.find_manifest(job) is None:
            objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError:
        return channel_of(job) is None
    return False


@contextmanager
def hold_publish_lease(job: str, say: Say) -> Iterator[HeldLease]:
    """Hold the claim on publishing the job; wait for whoever holds it now."""
    terms = LeaseOptions(f"privacy-{uuid.uuid4().hex}", settings().lease_seconds, A_DAY)
    with ExitStack() as stack:
        waiting = False
        while True:
            try:
                held = stack.enter_context(
                    acquire_lease(settings().work_bucket, object_names.merge_lease(job), terms)
                )
                break
            except LeaseTakenError:
                if not waiting:
                    say(f"Job {job} is being joined right now: waiting until that has stopped.")
                waiting = True
                time.sleep(LOOK_AGAIN_SECONDS)
        yield held
