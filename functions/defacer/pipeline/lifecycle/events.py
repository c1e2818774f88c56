"""The events that announce that a job was planned, waits for a person, was completed or failed."""

from datetime import datetime

from defacer.pipeline import log
from defacer.pipeline.documents.job_records import Failed, JobEvent, JobEventData, Published
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.lifecycle.ownership import JobIdentity
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names

CLOUDEVENTS = "application/cloudevents+json"


def announce_planned(manifest: Manifest) -> None:
    data = JobEventData(
        job=manifest.job,
        channel=manifest.channel,
        source=manifest.source,
        segments=len(manifest.segments),
    )
    _publish(JobEvent(id=f"{manifest.job}-planned", type="job.planned", subject=manifest.job, data=data))


def announce_waiting(manifest: Manifest, review_end: datetime) -> None:
    data = JobEventData(
        job=manifest.job,
        channel=manifest.channel,
        source=manifest.source,
        segments=len(manifest.segments),
        review_end=review_end,
    )
    _publish(JobEvent(id=f"{manifest.job}-waiting", type="job.waiting", subject=manifest.job, data=data))


def announce_completed(identity: JobIdentity, published: Published, segments: int | None) -> None:
    data = JobEventData(
        job=identity.job,
        channel=identity.channel,
        source=identity.source,
        result=published.result,
        report=None if published.superseded else published.report,
        message=superseded_message(identity) if published.superseded else None,
        segments=segments,
    )
    _publish(JobEvent(id=f"{identity.job}-completed", type="job.completed", subject=identity.job, data=data))


def announce_failed(failed: Failed) -> None:
    """Publish the failure to the video's channel; log it if the channel is unknown."""
    channel = object_names.channel_of_input(failed.source.name) if failed.source else None
    if failed.source is None or channel is None:
        log.error("a failed job has no manifest, so its channel is unknown and no event is published")
        return
    data = JobEventData(
        job=failed.job, channel=channel, source=failed.source, code=failed.code, message=failed.message
    )
    _publish(JobEvent(id=f"{failed.job}-failed", type="job.failed", subject=failed.job, data=data))


def superseded_message(identity: JobIdentity) -> str:
    newer = "upload of this video" if identity.request is None else "upload or re-render of this video"
    return f"A newer {newer} was published before."


def _publish(event: JobEvent) -> None:
    # The CloudEvents binding for Pub/Sub requires this attribute in its structured mode.
    pubsub.publish(settings().job_events_topic, event.type, [event], **{"content-type": CLOUDEVENTS})
