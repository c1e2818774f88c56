"""A job came to an end: tell a receiver outside. Reached by Pub/Sub push from the topic `job-events`."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.webhook.delivery import deliver_event


@functions_framework.cloud_event
def webhook(event: CloudEvent) -> None:
    """Hand the job's end on to the receiver that the settings name."""
    with http_status_of("webhook"):
        deliver_event(pubsub.receive(event))
