"""A segment message: find its faces, or hide them. Reached by Pub/Sub push from the topic `segments`."""

from threading import Lock

import functions_framework
from cloudevents.http import CloudEvent

from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.worker.detect_step import detect
from defacer.worker.engine_adapter import detect_segment, redact_segment
from defacer.worker.redact_step import redact

# The models serve one caller at a time, and a request that timed out goes on beside the next one.
ALONE = Lock()


@functions_framework.cloud_event
def worker(event: CloudEvent) -> None:
    """Do the step of the segment that the message names."""
    with http_status_of("worker"):
        message = pubsub.receive(event)
        task = pubsub.parse(message, SegmentTask)
        with ALONE:
            if task.step == "detect":
                detect(task, message.id, detect_segment)
            else:
                redact(task, message.id, redact_segment)
