"""The function `dead_letter`, which Pub/Sub pushes the messages of the topic `dead-letters` to."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.dead_letter.handler import handle_dead_letter
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of


@functions_framework.cloud_event
def dead_letter(event: CloudEvent) -> None:
    """Requeue the message, or fail its job."""
    with http_status_of("dead_letter"):
        handle_dead_letter(pubsub.receive_message(event))
