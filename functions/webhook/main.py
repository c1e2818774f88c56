"""A job came to an end: tell a receiver outside. Reached by Pub/Sub push from the topic `job-events`."""

import functions_framework
from cloudevents.http import CloudEvent

from functions.pipeline import messages
from functions.pipeline.answer import answering
from functions.webhook.telling import tell


@functions_framework.cloud_event
def webhook(event: CloudEvent) -> None:
    """Hand the job's end on to the receiver that the settings name."""
    with answering("webhook"):
        tell(messages.receive(event))
