"""A message gave up: its job fails, loudly. Reached by Pub/Sub push from the topic `dead-letters`."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.dead_letter.handler import handle_dead_letter
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of


@functions_framework.cloud_event
def dead_letter(event: CloudEvent) -> None:
    """Fail the job of the message that was given up."""
    with http_status_of("dead_letter"):
        handle_dead_letter(pubsub.receive(event))
