"""A step of a segment is done: if it was the last, link the faces, or join and publish.

Reached by Pub/Sub push from the topic `segments-done`.
"""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.merge.engine import check, join, link_faces
from defacer.merge.finish import Hands, finish
from defacer.merge.link import link
from defacer.pipeline import messages
from defacer.pipeline.answer import answering
from defacer.pipeline.contracts import SegmentDone


@functions_framework.cloud_event
def merge(event: CloudEvent) -> None:
    """Go on with the job whose segment the message names, if that was the last one of the step."""
    with answering("merge"):
        message = messages.receive(event)
        done = messages.parse(message, SegmentDone)
        if done.step == "find":
            link(done, message.id, link_faces)
        else:
            finish(done, message.id, Hands(join, check))
