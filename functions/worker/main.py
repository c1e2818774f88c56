"""A segment message: hide the faces of one segment. Reached by Pub/Sub push from the topic `segments`."""

from dataclasses import asdict
from functools import cache
from threading import Lock

import functions_framework
from cloudevents.http import CloudEvent

from functions.engine.deface import Engine, Options, Segment
from functions.engine.errors import EngineError, OutputError, WeightsError
from functions.engine.gallery import Gallery
from functions.pipeline import messages, store
from functions.pipeline.answer import answering
from functions.pipeline.contracts import SegmentTask, Track
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.ranged import open_ranged
from functions.pipeline.settings import settings
from functions.worker.segment import Assignment, Concealed, work

# The models serve one caller at a time, and a request that timed out goes on beside the next one.
ALONE = Lock()


@functions_framework.cloud_event
def worker(event: CloudEvent) -> None:
    """Do the segment that the message names."""
    with answering("worker"):
        message = messages.receive(event)
        task = messages.parse(message, SegmentTask)
        with ALONE:
            work(task, message.id, conceal)


@cache
def engine() -> Engine:
    """This process's engine, models loaded: made by the first segment, kept for the next ones."""
    return Engine(settings().weights_dir)


def conceal(todo: Assignment) -> Concealed:
    """Have the engine do one segment. Raises PermanentError for a video or picture that can't be used."""
    manifest, policy = todo.manifest, todo.manifest.policy
    gallery = Gallery.from_bytes(store.read(manifest.gallery)) if manifest.gallery else None
    replacement = store.read(manifest.replacement) if manifest.replacement else None
    options = Options(**policy.model_dump(exclude={"source"}))
    with open_ranged(manifest.source) as source:
        segment = Segment(source, todo.segment.start, todo.segment.end, settings().context_seconds)
        try:
            result = engine().deface_segment(
                segment, str(todo.out), gallery, options, replacement, lambda _: todo.keep_claim()
            )
        except (OutputError, WeightsError) as error:
            raise RetryableError(str(error)) from error
        except EngineError as error:
            name = f"{manifest.source.bucket}/{manifest.source.name}"
            raise PermanentError(error.code, f"gs://{name}: {error}") from error
    tracks = tuple(Track.model_validate(asdict(track)) for track in result.tracks)
    return Concealed(**{**vars(result), "tracks": tracks})
