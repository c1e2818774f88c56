"""The worker: detect or redact the faces of one segment. Pub/Sub pushes messages of the topic `segments`."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.engine_host import HOST
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.worker.detect_step import detect_and_announce
from defacer.worker.engine_adapter import WorkerEngine, require_computing_gpu
from defacer.worker.redact_step import redact_and_announce


@functions_framework.cloud_event
def worker(event: CloudEvent) -> None:
    """Do the step that the message names."""
    with http_status_of("worker"):
        message = pubsub.receive_message(event)
        task = pubsub.parse_message(message, SegmentTask)
        # A request that timed out can still run beside the next one, and the models serve one caller at a time.
        with HOST.lock:
            require_computing_gpu()  # before the lease, so that it does not count as an attempt
            step = detect_and_announce if task.step == "detect" else redact_and_announce
            step(task, message.id, WorkerEngine())
