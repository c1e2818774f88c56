"""The clock that ends the waits for a person, and repairs the turns. On Google Cloud, Cloud Scheduler is this clock.

See infra/topics.tf.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from google.cloud import storage

from defacer.pipeline.messaging.pubsub import REVIEW_CHECK, TYPE
from defacer.pipeline.storage.object_names import TURNS, WAITING
from defacer.pipeline.storage.transient_errors import TRANSIENT
from defacer.pipeline.topology import UPLOADS
from defacer_emulator.resources import Resources
from defacer_emulator.services.messaging import REQUEST_SECONDS, create_publisher, topic_path

# While a job waits for a person, and while any job has a turn. A turn needs the clock only after a process has died.
CLOCK_SECONDS, REPAIR_SECONDS = 5.0, 60.0


@contextmanager
def run_review_clock(client: storage.Client, pubsub_host: str, resources: Resources) -> Iterator[None]:
    """Send ingest a message at these intervals. While no job waits or has a turn, send nothing."""
    stopped = threading.Event()

    def has_any(prefix: str) -> bool:
        return any(client.list_blobs(resources.work, prefix=prefix, max_results=1, retry=None))

    def run() -> None:
        sent = time.monotonic()
        while not stopped.wait(CLOCK_SECONDS):
            try:
                is_due = time.monotonic() - sent >= REPAIR_SECONDS
                if has_any(WAITING) or (is_due and has_any(TURNS)):
                    _send(pubsub_host, resources.project)
                    sent = time.monotonic()
            except TRANSIENT:  # the next round tries again
                continue

    thread = threading.Thread(target=run, name="review clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _send(pubsub_host: str, project: str) -> None:
    with create_publisher(pubsub_host) as publisher:
        message = {"data": b"{}", "attributes": {TYPE: REVIEW_CHECK}}
        request = {"topic": topic_path(project, UPLOADS), "messages": [message]}
        publisher.publish(request=request, retry=None, timeout=REQUEST_SECONDS)
