"""Ingest: plan the job of an upload or of a re-render request. Pub/Sub pushes Cloud Storage notifications."""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.ingest import plan_job, plan_rerender
from defacer.ingest.engine_adapter import IngestEngine
from defacer.pipeline import log
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.pipeline.storage import object_names


@functions_framework.cloud_event
def ingest(event: CloudEvent) -> None:
    """Plan the job of the uploaded object."""
    with http_status_of("ingest"):
        source = pubsub.parse_upload(pubsub.receive_message(event))
        if source is None:
            log.info("ignored a notification that is not about a new object")
            return
        plan = (
            plan_rerender.plan_rerender_job
            if object_names.parse_rerender(source.name)
            else plan_job.plan_upload_job
        )
        plan(source, IngestEngine())
