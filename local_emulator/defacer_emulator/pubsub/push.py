"""Sends a push subscription's messages to its endpoint.

For flow control, each of the `max_outstanding` threads sends one message at a time. A message that waits for a busy
endpoint is not sent, so it does not time out and uses up no attempt.
"""

import base64
import json
import logging
import threading
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from defacer_emulator.pubsub.backlog import Delivery
from defacer_emulator.pubsub.broker import format_rfc3339
from defacer_emulator.pubsub.delivery_policy import Push
from defacer_emulator.pubsub.subscription import Subscription

# cloud.google.com/pubsub/docs/push#receive_push
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})

_log = logging.getLogger(__name__)


def push_body(subscription: Subscription, delivery: Delivery) -> bytes:
    """Return the JSON that Pub/Sub posts. It has the attempt only with a dead-letter policy."""
    message = delivery.message
    publish_time = format_rfc3339(message.publish_time)
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
    """Push the subscription's messages from new threads, until it is closed or the process ends.

    Do nothing for a subscription without a push endpoint.
    """
    push = subscription.policy.push
    for number in range(push.max_outstanding if push else 0):
        threading.Thread(
            target=_push_all,
            args=(subscription, push),
            name=f"push {number} {subscription.name}",
            daemon=True,  # a push can take 600 s; the emulator does not wait for it at its end
        ).start()


def _push_all(subscription: Subscription, push: Push) -> None:
    while deliveries := subscription.take(maximum=1):
        (delivery,) = deliveries
        failure = _push(subscription, push, delivery)
        if failure is None:
            subscription.acknowledge([delivery.ack_id])
            continue
        _log.warning(
            "message not acknowledged: %s of %s, attempt %d, endpoint %s: %s",
            delivery.message.message_id,
            subscription.name,
            delivery.attempt,
            push.endpoint,
            failure,
        )
        subscription.reject([delivery.ack_id])


def _push(subscription: Subscription, push: Push, delivery: Delivery) -> str | None:
    """Push a message. Return None for an acknowledgement, otherwise the reason of the failure."""
    timeout = urllib3.Timeout(total=subscription.policy.ack_deadline_seconds)
    # A pool for one push: the endpoint might close a kept connection just when it is used again, which would count
    # as a failed attempt. The pool ignores proxies from the environment.
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
