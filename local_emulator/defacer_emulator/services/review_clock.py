"""The clock that ends the waits for a person. On Google Cloud, Cloud Scheduler is this clock (infra/topics.tf)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from google.cloud import storage

from defacer.pipeline.messaging.pubsub import REVIEW_CHECK, TYPE
from defacer.pipeline.storage.object_names import WAITING
from defacer.pipeline.storage.transient_errors import TRANSIENT
from defacer.pipeline.topology import UPLOADS
from defacer_emulator.resources import Resources
from defacer_emulator.services.messaging import REQUEST_SECONDS, create_publisher, topic_path

CLOCK_SECONDS = 5.0


@contextmanager
def run_review_clock(client: storage.Client, pubsub_host: str, resources: Resources) -> Iterator[None]:
    """Send ingest a message every few seconds while a job waits for a person. Without such a job, send nothing."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(CLOCK_SECONDS):
            try:
                if any(client.list_blobs(resources.work, prefix=WAITING, max_results=1, retry=None)):
                    _send(pubsub_host, resources.project)
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
