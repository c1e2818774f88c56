"""The webhook: send the end of a job to a receiver. Pub/Sub pushes messages of the topic `job-events`."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.webhook.delivery import deliver_event


@functions_framework.cloud_event
def webhook(event: CloudEvent) -> None:
    """Send the event to the receiver of the settings."""
    with http_status_of("webhook"):
        deliver_event(pubsub.receive_message(event))
