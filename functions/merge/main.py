"""A segment is done: if it was the last, join and publish. Reached by Pub/Sub push from `segments-done`."""

import functions_framework
from cloudevents.http import CloudEvent

from functions.engine import join as engine
from functions.engine.errors import CheckError, OutputError, VideoError
from functions.merge.finish import Joined, Parts, finish
from functions.pipeline import messages
from functions.pipeline.answer import answering
from functions.pipeline.contracts import SegmentDone
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.ranged import open_ranged


@functions_framework.cloud_event
def merge(event: CloudEvent) -> None:
    """Finish the job whose segment the message names, if that was the last."""
    with answering("merge"):
        message = messages.receive(event)
        finish(messages.parse(message, SegmentDone), message.id, join)


def join(parts: Parts) -> Joined:
    """Have the engine join the segments. Raises PermanentError if anything does not add up."""
    segments = [
        engine.SegmentFile(str(file), report.frames)
        for file, report in zip(parts.files, parts.reports, strict=True)
    ]
    ref = parts.manifest.source
    with open_ranged(ref) as source:
        try:
            joined = engine.join(source, segments, str(parts.out), parts.keep_claim)
        except OutputError as error:
            raise RetryableError(str(error)) from error
        except (CheckError, VideoError) as error:
            raise PermanentError(error.code, f"gs://{ref.bucket}/{ref.name}: {error}") from error
    return Joined(joined.frames, joined.audio_packets)
