"""A step of a segment is done: if it was the last, link the faces, or join and publish.

Reached by Pub/Sub push from the topic `segments-done`.
"""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.merge.engine_adapter import check, join, link_faces
from defacer.merge.join_step import Hands, join_and_publish
from defacer.merge.link_step import link
from defacer.pipeline.documents.segment_messages import SegmentDone
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of


@functions_framework.cloud_event
def merge(event: CloudEvent) -> None:
    """Go on with the job whose segment the message names, if that was the last one of the step."""
    with http_status_of("merge"):
        message = pubsub.receive(event)
        done = pubsub.parse(message, SegmentDone)
        if done.step == "detect":
            link(done, message.id, link_faces)
        else:
            join_and_publish(done, message.id, Hands(join, check))
