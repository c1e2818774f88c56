"""Find the jobs of a channel, and hold the lease for publishing one of them."""

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
# A live holder stops after the deadline of one delivery, and the lease of a dead one expires sooner.
POLL_SECONDS = 0.5
DAY_SECONDS = 24 * 3600.0


def all_jobs() -> list[str]:
    """Return all jobs with an object in the work bucket."""
    folders = objects.list_folders(settings().work_bucket, object_names.JOBS)
    ids = (folder.removeprefix(object_names.JOBS).removesuffix("/") for folder in folders)
    return [job for job in ids if object_names.is_job_id(job)]


def channel_of(job: str) -> str | None:
    """Return the channel of a job, by its manifest or else by its failure; None if it is unknown."""
    found = job_state.try_read_manifest(job)
    if found is not None:
        return found.document.channel
    try:
        failed = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError:
        return None
    source = failed[0].source if failed else None
    return object_names.channel_of_input(source.name) if source else None


def is_unreadable(job: str) -> bool:
    """Return whether the channel of the job is unknown because its documents can't be read."""
    try:
        if job_state.find_manifest(job) is None:
            objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError:
        return channel_of(job) is None
    return False


@contextmanager
def hold_publish_lease(job: str, say: Say) -> Iterator[HeldLease]:
    """Hold the lease for publishing the job. Wait until it is free."""
    terms = LeaseOptions(f"privacy-{uuid.uuid4().hex}", settings().lease_seconds, DAY_SECONDS)
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
                    say(f"Job {job} is being joined now. Waiting for the end.")
                waiting = True
                time.sleep(POLL_SECONDS)
        yield held
