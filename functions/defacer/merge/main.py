"""Merge: after the last segment of a step, link the faces, or join and publish the video.

Pub/Sub pushes messages of the topic `segments-done`.
"""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline.documents.segment_messages import SegmentDone
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of


@functions_framework.cloud_event
def merge(event: CloudEvent) -> None:
    """Continue the job if this segment was the last of its step."""
    with http_status_of("merge"):
        message = pubsub.receive_message(event)
        done = pubsub.parse_message(message, SegmentDone)
        step = link_and_dispatch if done.step == "detect" else join_and_publish
        step(done, message.id, MergeEngine())
