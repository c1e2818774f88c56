"""Ingest: plan the job of an upload or of a re-render request, and continue jobs that wait for a person.

Pub/Sub pushes Cloud Storage notifications, and the messages of a clock.
"""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.ingest import confirm_job, plan_job, plan_rerender
from defacer.ingest.engine_adapter import IngestEngine
from defacer.pipeline import log
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.pipeline.storage import object_names


@functions_framework.cloud_event
def ingest(event: CloudEvent) -> None:
    """Start or continue the job of the uploaded object."""
    with http_status_of("ingest"):
        message = pubsub.receive_message(event)
        if message.attributes.get(pubsub.TYPE) == pubsub.REVIEW_CHECK:
            confirm_job.end_waits(IngestEngine(), message.attributes.get(pubsub.JOB, ""))
            return
        uploaded = pubsub.parse_upload(message)
        if uploaded is None:
            log.info("ignored a notification that is not about a new object")
            return
        if object_names.parse_rerender(uploaded.name):
            plan_rerender.plan_rerender_job(uploaded, IngestEngine())
        elif object_names.parse_confirmation(uploaded.name):
            confirm_job.apply_confirmation(uploaded, IngestEngine())
        else:
            plan_job.plan_upload_job(uploaded, IngestEngine(), is_empty=pubsub.is_about_empty_object(message))
