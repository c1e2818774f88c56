"""A video arrived, or a request to render one again: plan its job.

Reached by Pub/Sub push from a Cloud Storage notification.
"""

import functions_framework
from cloudevents.http import CloudEvent

from defacer.engine import video
from defacer.engine.errors import VideoError
from defacer.ingest import again, gallery, planning
from defacer.ingest.again import Means
from defacer.ingest.planning import Eyes
from defacer.pipeline import layout, log, messages
from defacer.pipeline.answer import answering
from defacer.pipeline.contracts import ObjectRef
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.ranged import open_ranged


@functions_framework.cloud_event
def ingest(event: CloudEvent) -> None:
    """Plan the job of the upload, or of the request, that the message tells of."""
    with answering("ingest"):
        source = messages.parse_upload(messages.receive(event))
        if source is None:
            log.info("ignored a notification that is not about a new object")
            return
        if layout.parse_again(source.name):
            again.plan(source, Means(probe, gallery.require_picture, gallery.decide_anew))
        else:
            planning.plan(source, Eyes(probe, gallery.embed, gallery.require_picture))


def probe(source: ObjectRef) -> video.VideoInfo:
    """What the video's header says. Raises PermanentError if it is no video."""
    with open_ranged(source) as file:
        try:
            return video.probe(file)
        except VideoError as error:
            raise PermanentError(error.code, f"{layout.owner_name(source.name)}: {error}") from error
