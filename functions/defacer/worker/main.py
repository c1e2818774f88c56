"""A segment message: find its faces, or hide them. Reached by Pub/Sub push from the topic `segments`."""

from threading import Lock

import functions_framework
from cloudevents.http import CloudEvent

from defacer.pipeline import messages
from defacer.pipeline.answer import answering
from defacer.pipeline.contracts import SegmentTask
from defacer.worker.engine import conceal, look
from defacer.worker.find import find
from defacer.worker.hide import hide

# The models serve one caller at a time, and a request that timed out goes on beside the next one.
ALONE = Lock()


@functions_framework.cloud_event
def worker(event: CloudEvent) -> None:
    """Do the step of the segment that the message names."""
    with answering("worker"):
        message = messages.receive(event)
        task = messages.parse(message, SegmentTask)
        with ALONE:
            if task.step == "find":
                find(task, message.id, look)
            else:
                hide(task, message.id, conceal)
