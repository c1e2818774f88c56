"""A job came to an end: tell a receiver outside. Reached by Pub/Sub push from the topic `job-events`."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.pipeline import messages
from defacer.pipeline.answer import answering
from defacer.webhook.telling import tell


@functions_framework.cloud_event
def webhook(event: CloudEvent) -> None:
    """Hand the job's end on to the receiver that the settings name."""
    with answering("webhook"):
        tell(messages.receive(event))
