"""Send one signed POST to the channel's receiver for each job that waits for a person, was completed or failed.

The body is the event as it was published. The receiver's status decides about the message:

| status | result |
|---|---|
| 2xx | acknowledged |
| 408, 429, 5xx, timeout, no connection | RetryableError: Pub/Sub redelivers the message with exponential backoff |
| any other, redirects included | logged as an ERROR and acknowledged |

This module has no state. A duplicate event is sent twice with the same `Idempotency-Key`, so the receiver can drop the
second request. Receivers must tolerate duplicates in any case, because a response can get lost.
"""

import hashlib
import hmac
import time

import urllib3
from urllib3.exceptions import HTTPError

from defacer.pipeline import log
from defacer.pipeline.documents.job_records import JobEvent
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.pubsub import Message
from defacer.pipeline.settings import SettingsError, settings

SENT_EVENTS = {"job.waiting", "job.completed", "job.failed"}
KEY = "Idempotency-Key"
TIMESTAMP = "Defacer-Timestamp"
SIGNATURE = "Defacer-Signature"
SIGNATURE_VERSION = "v1"
RETRYABLE_STATUSES = {408, 429}
# Together they stay below the 60 s that Pub/Sub waits for this function.
CONNECT_SECONDS, READ_SECONDS = 5.0, 20.0


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of `Defacer-Signature`: the HMAC-SHA256 of timestamp, full stop and body."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"{SIGNATURE_VERSION}={digest.hexdigest()}"


def deliver_event(message: Message) -> None:
    """Send an event of SENT_EVENTS to the receiver, and ignore any other event of the topic.

    Raises RetryableError if the receiver can't be reached or can't process the event now.
    """
    event = pubsub.parse_message(message, JobEvent)
    with log.bind_fields(job=event.data.job, event=event.type):
        if event.type not in SENT_EVENTS:
            log.info("ignored an event that is not sent")
            return
        status = _post(event.id, message.data)
        log.info("the receiver responded", status=status)
        if status in RETRYABLE_STATUSES or status >= 500:
            raise RetryableError(f"the webhook's receiver responded with {status}")
        if not 200 <= status < 300:
            # The job does not fail, because its video is published.
            log.error("the receiver refused the event; redirects are not followed", status=status)


def _post(key: str, body: bytes) -> int:
    """Return the status of the response. Its body can have any size, because it is not read."""
    url, secret = settings().webhook_url, settings().webhook_secret
    if url is None or secret is None:
        raise SettingsError("DEFACER_WEBHOOK_URL or DEFACER_WEBHOOK_SECRET is missing. Set both.")
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/cloudevents+json",
        "User-Agent": "defacer-webhook",
        KEY: key,
        TIMESTAMP: timestamp,
        SIGNATURE: sign(secret.get_secret_value(), timestamp, body),
    }
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    # urllib3 uses neither a proxy nor a password of this machine's configuration.
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        try:
            response = pool.request("POST", url, body, headers=headers, redirect=False, preload_content=False)
            response.close()
        except HTTPError as error:
            raise RetryableError(
                f"the webhook's receiver can't be reached: {type(error).__name__}"
            ) from error
    return response.status
