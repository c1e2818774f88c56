"""One signed POST to the channel's own receiver for each job that was completed or has failed.

The body is the event as it was published. What the receiver answers decides what becomes of the message:

| answer | then |
|---|---|
| 2xx | done |
| 408, 429, 5xx, none in time, no connection | RetryableError: Pub/Sub brings the message back, with back-off |
| anything else, a redirect too | an ERROR line, once; not tried again |

Nothing is remembered here. An event that comes twice is told twice, with the same `Idempotency-Key`: the receiver
has to stand doubles anyway, because an answer can get lost, and drops the second by it.
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

TOLD = {"job.completed", "job.failed"}
KEY = "Idempotency-Key"
TIMESTAMP = "Defacer-Timestamp"
SIGNATURE = "Defacer-Signature"
SIGNATURE_VERSION = "v1"
PASSING = {408, 429}
# Pub/Sub waits 60 s for this function; an answer that takes longer than this counts as none.
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What a receiver compares with `Defacer-Signature`: HMAC-SHA256 over timestamp, full stop and body."""
    made = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"{SIGNATURE_VERSION}={made.hexdigest()}"


def deliver_event(message: Message) -> None:
    """Tell the receiver of a job's end; anything else on the topic is no news for it.

    Raises RetryableError if the receiver can't take it now.
    """
    event = pubsub.parse(message, JobEvent)
    with log.bound(job=event.data.job, event=event.type):
        if event.type not in TOLD:
            log.info("nothing to tell")
            return
        status = _post(event.id, message.data)
        log.info("the receiver answered", status=status)
        if status in PASSING or status >= 500:
            raise RetryableError(f"the webhook's receiver answered {status}, which may pass")
        if not 200 <= status < 300:
            # No job fails for it: the video is published, only nobody outside knows.
            log.error("the receiver refused: nobody is told (a redirect is not followed)", status=status)


def _post(key: str, body: bytes) -> int:
    """The status of the answer; its body is not read, so it may be of any size."""
    url, secret = settings().webhook_url, settings().webhook_secret
    if url is None or secret is None:
        raise SettingsError(
            "DEFACER_WEBHOOK_URL or DEFACER_WEBHOOK_SECRET is missing: this function needs both"
        )
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/cloudevents+json",
        "User-Agent": "defacer-webhook",
        KEY: key,
        TIMESTAMP: timestamp,
        SIGNATURE: signature(secret.get_secret_value(), timestamp, body),
    }
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
    # Past any proxy, and without a password that lies around on the machine.
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        try:
            answer = pool.request("POST", url, body, headers=headers, redirect=False, preload_content=False)
            answer.close()
        except HTTPError as error:
            raise RetryableError(f"the webhook's receiver was not reached: {type(error).__name__}") from error
    return answer.status
