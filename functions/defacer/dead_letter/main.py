"""A message gave up: its job fails, loudly. Reached by Pub/Sub push from the topic `dead-letters`."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.dead_letter.giving_up import give_up
from defacer.pipeline import messages
from defacer.pipeline.answer import answering


@functions_framework.cloud_event
def dead_letter(event: CloudEvent) -> None:
    """Fail the job of the message that was given up."""
    with answering("dead_letter"):
        give_up(messages.receive(event))
