"""Sends a push subscription's messages to its endpoint.

Flow control: as many threads as the subscription may have messages outstanding, each with one message at a
time. A message that waits for a busy endpoint is not sent, so it can neither time out nor use up an attempt.
"""

import base64
import json
import logging
import threading
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from defacer_emulator.pubsub.backlog import Delivery
from defacer_emulator.pubsub.broker import rfc3339
from defacer_emulator.pubsub.policy import Push
from defacer_emulator.pubsub.subscription import Subscription

# cloud.google.com/pubsub/docs/push#receive_push
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})

_log = logging.getLogger(__name__)


def push_body(subscription: Subscription, delivery: Delivery) -> bytes:
    """The JSON that Pub/Sub posts; the attempt is in it only with a dead-letter policy."""
    message = delivery.message
    publish_time = rfc3339(message.publish_time)
    content: dict[str, Any] = {
        "data": base64.b64encode(message.data).decode(),
        "attributes": dict(message.attributes),
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": publish_time,
        "publish_time": publish_time,
    }
    if message.ordering_key:
        content["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": content, "subscription": subscription.name}
    if subscription.policy.dead_letters:
        body["deliveryAttempt"] = delivery.attempt
    return json.dumps(body).encode()


def start_pushing(subscription: Subscription) -> None:
    """Push the messages of `subscription` from threads of its own, until it is closed or the process ends.

    Does nothing for a subscription without a push endpoint.
    """
    push = subscription.policy.push
    for number in range(push.max_outstanding if push else 0):
        threading.Thread(
            target=_push_all,
            args=(subscription, push),
            name=f"push {number} {subscription.name}",
            daemon=True,  # a push may take 600 s; the end of the emulator does not wait for it
        ).start()


def _push_all(subscription: Subscription, push: Push) -> None:
    while deliveries := subscription.take(maximum=1):
        (delivery,) = deliveries
        found = _push(subscription, push, delivery)
        if found is None:
            subscription.acknowledge([delivery.ack_id])
            continue
        _log.warning(
            "Message %s of %s, attempt %d, was not acknowledged by %s: %s.",
            delivery.message.message_id,
            subscription.name,
            delivery.attempt,
            push.endpoint,
            found,
        )
        subscription.reject([delivery.ack_id])


def _push(subscription: Subscription, push: Push, delivery: Delivery) -> str | None:
    """Returns None for an acknowledgement, otherwise what came instead of it."""
    timeout = urllib3.Timeout(total=subscription.policy.ack_deadline_seconds)
    # A pool for one push, because a connection that is kept may be closed by the endpoint just when it is used
    # again, which would count as a failed attempt. It reads no proxy from the environment.
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        try:
            response = pool.request(
                "POST",
                push.endpoint,
                body=push_body(subscription, delivery),
                headers={"Content-Type": "application/json", "Connection": "close"},
                redirect=False,
                decode_content=False,  # only the status counts
            )
        except HTTPError as error:
            return f"{type(error).__name__}: {error}"
    return None if response.status in ACKNOWLEDGED else f"status {response.status}"
