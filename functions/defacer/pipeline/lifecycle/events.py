"""The events that announce that a job was planned or completed."""

from defacer.pipeline.documents.job_records import JobEvent, JobEventData, Published
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.lifecycle.publishing import JobIdentity
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings

CLOUDEVENTS = "application/cloudevents+json"


def announce_planned(manifest: Manifest) -> None:
    data = JobEventData(
        job=manifest.job,
        channel=manifest.channel,
        source=manifest.source,
        segments=len(manifest.segments),
    )
    _publish(JobEvent(id=f"{manifest.job}-planned", type="job.planned", subject=manifest.job, data=data))


def announce_completed(names: JobIdentity, published: Published, segments: int | None) -> None:
    data = JobEventData(
        job=names.job,
        channel=names.channel,
        source=names.source,
        result=published.result,
        report=None if published.superseded else published.report,
        message=superseded_message(names) if published.superseded else None,
        segments=segments,
    )
    _publish(JobEvent(id=f"{names.job}-completed", type="job.completed", subject=names.job, data=data))


def superseded_message(names: JobIdentity) -> str:
    what = "upload of this video" if names.request is None else "upload or rendering of this video"
    return f"A newer {what} was published before."


def _publish(event: JobEvent) -> None:
    # The attribute is what the CloudEvents binding for Pub/Sub asks of its structured mode.
    pubsub.publish(settings().job_events_topic, event.type, [event], **{"content-type": CLOUDEVENTS})
