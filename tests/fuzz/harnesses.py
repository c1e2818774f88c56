"""What is fuzzed. A harness takes any bytes, and raises only where a promise of the code is broken.

`make test` gives each the kept seeds and what hypothesis makes up; `make fuzz` lets atheris look for more.
"""

import io
import json
import posixpath
from collections.abc import Callable, Mapping

from cloudevents.http import CloudEvent

from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.image_decoder import decode_here
from defacer.engine.media.mp4.sample_count_check import require_likely_samples
from defacer.engine.media.reader import probe
from defacer.engine.media.still_image import require_decodable
from defacer.pipeline.channel import parse_policy
from defacer.pipeline.documents import job_records, manifest, report, segment_messages
from defacer.pipeline.documents.base import Document, parse_document
from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.pubsub import Message
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import VideoName
from defacer.plurals import JOINERS, printable

Harness = Callable[[bytes], None]

DOCUMENTS: tuple[type[Document], ...] = (
    segment_messages.SegmentTask,
    segment_messages.SegmentDone,
    manifest.Policy,
    manifest.Manifest,
    report.Faces,
    segment_messages.SegmentReport,
    report.ReportHead,
    report.Report,
    job_records.Published,
    job_records.Failed,
    job_records.Lease,
    job_records.JobEvent,
    manifest.RerenderRequest,
)
POLICY = "gs://intake/channels/c/policy.json"
MAX_SENTENCE = 2_000  # bytes
MAX_PIXELS = 1_000_000


def push(data: bytes) -> None:
    """A whole push body, and what the functions make of the message in it."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # functions-framework's to refuse
    message = body.get("message") if isinstance(body, dict) else None
    number = message.get("messageId") if isinstance(message, dict) else None
    event = CloudEvent({"type": "t", "source": "s", "id": str(number)}, body)
    try:
        received = pubsub.receive(event)
    except MalformedMessageError:
        return
    received.id.encode()
    _understand(received)


def message(data: bytes) -> None:
    """The data of a message about a segment."""
    _understand(Message("1", {}, data))


def notification(data: bytes) -> None:
    """The attributes of a Cloud Storage notification, each in a line that ends in a null."""
    names = ("eventType", "bucketId", "objectId", "objectGeneration")
    values = _text(data).split("\0")
    _upload(Message("1", dict(zip(names, values, strict=False)), b""))


def _understand(received: Message) -> None:
    for model in (segment_messages.SegmentTask, segment_messages.SegmentDone):
        try:
            parsed = pubsub.parse(received, model)
        except (MalformedMessageError, RetryableError):
            continue
        _survives(parsed)
    _upload(received)


def _upload(received: Message) -> None:
    try:
        ref = pubsub.parse_upload(received)
    except MalformedMessageError:
        return
    if ref is not None:
        _survives(ref)
        object_names.job_id(ref.bucket, ref.name, ref.generation)
        _name(ref.name)


def document(data: bytes) -> None:
    """Any of the documents that pass between the functions; the first byte says which."""
    model = DOCUMENTS[data[0] % len(DOCUMENTS)] if data else Document
    try:
        found = parse_document(model, data[1:])
    except (ValueError, RetryableError):
        return
    _survives(found)


def _survives(document: Document) -> None:
    """What was read is written, and read again as the same."""
    written = document.model_dump_json().encode()
    assert parse_document(type(document), written) == document


def policy(data: bytes) -> None:
    """A channel's policy: taken, or refused with a sentence that is not too long."""
    try:
        found = parse_policy(data, POLICY)
    except PermanentError as error:
        _is_told(error)
        return
    _survives(found)


def _is_told(error: Exception) -> None:
    """A sentence for a person: not too long, and text that a document can hold."""
    assert 0 < len(str(error).encode()) <= MAX_SENTENCE


def name(data: bytes) -> None:
    """The name of any object."""
    _name(_text(data))


def _text(data: bytes) -> str:
    """Any bytes as text, halves of characters among it: Python's JSON lets them through."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _name(text: str) -> None:
    video = object_names.parse_video(text)
    if video is not None:
        assert video.object_name == text
        assert text.startswith(f"channels/{video.channel}/videos/")
        if video.problem is None:
            _harmless(video)
    person = object_names.parse_target(text)
    assert person is None or (person and "/" not in person and text.startswith("channels/"))
    piece = object_names.parse_subsegment(text)
    if piece is not None:
        made = {
            "detect": object_names.segment_detections(piece.job, piece.index, piece.part),
            "redact": object_names.segment_report(piece.job, piece.index, piece.part),
        }
        mark = object_names.split_mark(piece.job, piece.step, piece.index, piece.part)
        assert text == (mark if piece.is_split else made[piece.step])
    shown = printable(text)
    assert all(character.isprintable() or character in JOINERS for character in shown)


def _harmless(video: VideoName) -> None:
    """Everything made of the name stays in the channel's folder, wherever it is copied to."""
    for made in (video.object_name, video.result, video.report):
        assert posixpath.normpath(made).startswith(f"channels/{video.channel}/")
        assert len(made.encode()) <= object_names.MAX_NAME_BYTES
        assert not set("\r\n\0") & set(made)
    assert video.result.lower().endswith(".mp4")
    assert len({video.result, video.report}) == 2


def picture(data: bytes) -> None:
    """A target's or replacement picture."""
    try:
        require_decodable(data, "me", MAX_PIXELS)
    except PictureError as error:
        _is_told(error)
        return
    decode_here(data, alpha=True)


def claims(data: bytes) -> None:
    """What an MP4 claims."""
    try:
        require_likely_samples(io.BytesIO(data))
    except VideoError:
        return


def video(data: bytes) -> None:
    """A video's header, as ingest reads it."""
    try:
        found = probe(io.BytesIO(data))
    except VideoError as error:
        _is_told(error)
        return
    assert found.width > 0
    assert found.height > 0
    assert found.time_base > 0
    assert list(found.keyframes) == sorted(found.keyframes)


HARNESSES: Mapping[str, Harness] = {
    harness.__name__: harness
    for harness in (push, message, notification, document, policy, name, picture, claims, video)
}
