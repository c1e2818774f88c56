"""The fuzz harnesses. A harness accepts any bytes, and raises only if the code breaks a promise.

`make test` runs each harness on the committed seeds and on inputs from hypothesis. `make fuzz` searches for more with
atheris.
"""

import io
import json
import posixpath
from collections.abc import Callable, Mapping

from cloudevents.http import CloudEvent

from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.mp4.sample_count_check import require_plausible_sample_count
from defacer.engine.media.pictures.image_decoder import decode_here
from defacer.engine.media.pictures.still_image import require_decodable
from defacer.engine.media.reader import read_video_info
from defacer.pipeline.channel import parse_policy
from defacer.pipeline.documents import job_records, manifest, segment_messages
from defacer.pipeline.documents.base import Document, parse_document
from defacer.pipeline.documents.report import JobReport, ReportHead
from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.pubsub import Message
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import VideoName
from defacer.plurals import JOINERS, printable
from defacer.report.exchange.formats import DUMP, parse_track_file
from defacer.report.exchange.track_file import TrackFileError
from defacer.report.json_lines import ReportError, join_report

Harness = Callable[[bytes], None]

DOCUMENTS: tuple[type[Document], ...] = (
    segment_messages.SegmentTask,
    segment_messages.SegmentDone,
    manifest.Policy,
    manifest.Manifest,
    segment_messages.SegmentReport,
    ReportHead,
    job_records.Published,
    job_records.Failed,
    job_records.Lease,
    job_records.JobEvent,
    manifest.RerenderRequest,
)
POLICY = "gs://intake/channels/c/policy.json"
MAX_MESSAGE_BYTES = 2_000
MAX_PIXELS = 1_000_000


def push(data: bytes) -> None:
    """Parse a whole push body and its message."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # functions-framework rejects these
    message = body.get("message") if isinstance(body, dict) else None
    number = message.get("messageId") if isinstance(message, dict) else None
    event = CloudEvent({"type": "t", "source": "s", "id": str(number)}, body)
    try:
        received = pubsub.receive_message(event)
    except MalformedMessageError:
        return
    received.id.encode()
    _parse_message(received)


def message(data: bytes) -> None:
    """Parse the data of a message about a segment."""
    _parse_message(Message("1", {}, data))


def notification(data: bytes) -> None:
    """Parse the attributes of a Cloud Storage notification, which are separated by null bytes."""
    names = ("eventType", "bucketId", "objectId", "objectGeneration")
    values = _decode_text(data).split("\0")
    _parse_upload(Message("1", dict(zip(names, values, strict=False)), b""))


def _parse_message(received: Message) -> None:
    for model in (segment_messages.SegmentTask, segment_messages.SegmentDone):
        try:
            parsed = pubsub.parse_message(received, model)
        except (MalformedMessageError, RetryableError):
            continue
        _require_round_trip(parsed)
    _parse_upload(received)


def _parse_upload(received: Message) -> None:
    try:
        ref = pubsub.parse_upload(received)
    except MalformedMessageError:
        return
    if ref is not None:
        _require_round_trip(ref)
        object_names.job_of(ref)
        _check_name(ref.name)


def document(data: bytes) -> None:
    """Parse a document that the functions exchange. The first byte selects its type."""
    model = DOCUMENTS[data[0] % len(DOCUMENTS)] if data else Document
    try:
        found = parse_document(model, data[1:])
    except (ValueError, RetryableError):
        return
    _require_round_trip(found)


def report(data: bytes) -> None:
    """Read the head and the tracks of a report. The harness writes the last line, because mutations find no hash."""
    head, *lines = data.splitlines(keepends=True) or [b""]
    stored = join_report(head, lines)
    try:
        found = JobReport.from_bytes(stored)
    except ValueError:
        return
    assert JobReport.from_bytes(found.to_bytes()) == found
    try:
        JobReport.from_bytes(data)
    except ReportError:
        return


def tracks(data: bytes) -> None:
    """Read a file of tracks, and write its tracks in each format. The written file has the same tracks."""
    try:
        found = parse_track_file(data)
    except TrackFileError as error:
        _require_short_message(error)
        return
    assert all(0 <= frame < found.frames for track in found.tracks for frame in track.boxes)
    for dump in DUMP.values():
        parse_track_file(dump(found).encode())


def _require_round_trip(document: Document) -> None:
    """Assert that a document equals itself after writing and reading."""
    written = document.model_dump_json().encode()
    assert parse_document(type(document), written) == document


def policy(data: bytes) -> None:
    """Parse a channel's policy, which is accepted or rejected with a short message."""
    try:
        found = parse_policy(data, POLICY)
    except PermanentError as error:
        _require_short_message(error)
        return
    _require_round_trip(found)


def _require_short_message(error: Exception) -> None:
    """Assert that an error's message is short and can be stored in a document."""
    assert 0 < len(str(error).encode()) <= MAX_MESSAGE_BYTES


def name(data: bytes) -> None:
    """Parse an object name."""
    _check_name(_decode_text(data))


def _decode_text(data: bytes) -> str:
    """Decode any bytes as text. Lone surrogates are allowed, because Python's JSON accepts them."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _check_name(text: str) -> None:
    video = object_names.parse_video(text)
    if video is not None:
        assert video.object_name == text
        assert text.startswith(f"channels/{video.channel}/videos/")
        if video.problem is None:
            _require_harmless_names(video)
    person = object_names.parse_target(text)
    assert person is None or (person and "/" not in person and text.startswith("channels/"))
    piece = object_names.parse_subsegment(text)
    if piece is not None:
        made = {
            "detect": object_names.segment_detections(piece.job, piece.index, piece.subsegment),
            "redact": object_names.segment_report(piece.job, piece.index, piece.subsegment),
        }
        mark = object_names.split_mark(piece.job, piece.step, piece.index, piece.subsegment)
        assert text == (mark if piece.is_split else made[piece.step])
    shown = printable(text)
    assert all(character.isprintable() or character in JOINERS for character in shown)


def _require_harmless_names(video: VideoName) -> None:
    """Assert that every object name derived from the video stays in the channel's folder."""
    for made in (video.object_name, video.result, video.report):
        assert posixpath.normpath(made).startswith(f"channels/{video.channel}/")
        assert len(made.encode()) <= object_names.MAX_NAME_BYTES
        assert not set("\r\n\0") & set(made)
    assert video.result.lower().endswith(".mp4")
    assert len({video.result, video.report}) == 2


def picture(data: bytes) -> None:
    """Decode a target picture or replacement picture."""
    try:
        require_decodable(data, "me", MAX_PIXELS)
    except PictureError as error:
        _require_short_message(error)
        return
    decode_here(data, alpha=True)


def claims(data: bytes) -> None:
    """Check the sample counts of an MP4."""
    try:
        require_plausible_sample_count(io.BytesIO(data))
    except VideoError:
        return


def video(data: bytes) -> None:
    """Read a video's header as ingest does."""
    try:
        found = read_video_info(io.BytesIO(data))
    except VideoError as error:
        _require_short_message(error)
        return
    assert found.width > 0
    assert found.height > 0
    assert found.time_base > 0
    assert list(found.keyframes) == sorted(found.keyframes)


HARNESSES: Mapping[str, Harness] = {
    harness.__name__: harness
    for harness in (
        push,
        message,
        notification,
        document,
        report,
        tracks,
        policy,
        name,
        picture,
        claims,
        video,
    )
}
