"""A video arrived, or a request to render one again: plan its job.

Reached by Pub/Sub push from a Cloud Storage notification.
"""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.engine.errors import VideoError
from defacer.engine.media import reader
from defacer.ingest import engine_adapter, plan_job, plan_rerender
from defacer.ingest.plan_job import Eyes
from defacer.ingest.plan_rerender import Means
from defacer.pipeline import log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.ranged_reader import open_ranged


@functions_framework.cloud_event
def ingest(event: CloudEvent) -> None:
    """Plan the job of the upload, or of the request, that the message tells of."""
    with http_status_of("ingest"):
        source = pubsub.parse_upload(pubsub.receive(event))
        if source is None:
            log.info("ignored a notification that is not about a new object")
            return
        if object_names.parse_rerender(source.name):
            plan_rerender.plan(
                source, Means(probe, engine_adapter.require_picture, engine_adapter.decide_anew)
            )
        else:
            plan_job.plan(source, Eyes(probe, engine_adapter.embed, engine_adapter.require_picture))


def probe(source: ObjectRef) -> reader.VideoInfo:
    """What the video's header says. Raises PermanentError if it is no video."""
    with open_ranged(source) as file:
        try:
            return reader.probe(file)
        except VideoError as error:
            raise PermanentError(error.code, f"{object_names.owner_name(source.name)}: {error}") from error
