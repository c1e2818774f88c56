"""A stand-in for the worker in the load test, which is about messages. It redacts nothing.

Its engine copies packets: it detects no face in any segment, and writes the pictures of the source.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import functions_framework
from cloudevents.http import CloudEvent

from defacer.engine.media.reader import Segment, open_video, time_base
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.media_engine import MediaEngine, RedactedSegment, StepInput
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.http_status import http_status_of
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.worker.detect_step import detect_and_announce
from defacer.worker.redact_step import redact_and_announce
from tests.load.notes import write_note


@functions_framework.cloud_event
def worker(event: CloudEvent) -> None:
    """Process the step of a segment as the real worker does, but with an engine that copies."""
    with http_status_of("worker"):
        message = pubsub.receive_message(event)
        task = pubsub.parse_message(message, SegmentTask)
        write_note("delivery", job=task.job, index=task.index, step=task.step)
        if task.step == "detect":
            detect_and_announce(task, message.id, CopyingEngine())
        else:
            redact_and_announce(task, message.id, CopyingEngine())


class CopyingEngine(MediaEngine):
    """Detect no face, and write the packets of the source."""

    def detect(self, step: StepInput) -> bytes:
        video = step.manifest.video
        base = Fraction(video.time_base)
        with _packets(step) as (_, packets):
            frames = len(list(packets))
        detections = SegmentDetections("centerface", 0.5, None, video.width, video.height, base, frames, ())
        return detections.to_bytes()

    def redact(self, step: StepInput, faces: bytes, out: Path) -> RedactedSegment:
        times = []
        with (
            _packets(step) as (stream, packets),
            av.open(str(out), "w", format="nut", options={"avoid_negative_ts": "disabled"}) as result,
        ):
            copied = result.add_stream_from_template(stream)
            copied.time_base = stream.time_base
            for packet in packets:
                times.append(packet.pts)
                packet.stream = copied
                result.mux(packet)
        return RedactedSegment(array("q", times), 0)


@contextmanager
def _packets(step: StepInput) -> Iterator[tuple[av.video.stream.VideoStream, Iterator[av.Packet]]]:
    """Yield the video stream and the packets of a segment. Each packet is one frame."""
    segment = Segment(b"", step.segment.start, step.segment.end)  # type: ignore[arg-type]  # for its `holds`
    with open_ranged(step.manifest.source) as file, open_video(file) as (container, stream):
        if segment.start is not None:
            container.seek(segment.start, stream=stream, backward=True)

        def within() -> Iterator[av.Packet]:
            for packet in container.demux(stream):
                step.renew_lease()
                if packet.pts is None or (segment.end is not None and packet.pts >= segment.end):
                    return
                if segment.contains(packet.pts):
                    yield packet

        assert time_base(stream) == Fraction(step.manifest.video.time_base)
        yield stream, within()
