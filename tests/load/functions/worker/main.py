"""A worker that hides nobody: a stand-in for the load test alone, which is about messages, not about pictures.

Its engine copies packets: it finds no face in any segment, and writes the source's own pictures.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import functions_framework
from cloudevents.http import CloudEvent

from defacer.engine.findings import Findings
from defacer.engine.video import Segment, open_video, time_base
from defacer.pipeline import messages
from defacer.pipeline.answer import answering
from defacer.pipeline.contracts import SegmentTask
from defacer.pipeline.ranged import open_ranged
from defacer.worker.attempt import Assignment
from defacer.worker.find import find
from defacer.worker.hide import Redacted, hide
from tests.load.notes import note


@functions_framework.cloud_event
def worker(event: CloudEvent) -> None:
    """Do the step of the segment as the real worker does, but with an engine that copies."""
    with answering("worker"):
        message = messages.receive(event)
        task = messages.parse(message, SegmentTask)
        note("delivery", job=task.job, index=task.index, step=task.step)
        if task.step == "find":
            find(task, message.id, _look)
        else:
            hide(task, message.id, _copy)


def _look(todo: Assignment) -> bytes:
    video = todo.manifest.video
    base = Fraction(video.time_base)
    with _packets(todo) as (_, packets):
        frames = len(list(packets))
    return Findings("centerface", 0.5, None, video.width, video.height, base, frames, ()).to_bytes()


def _copy(todo: Assignment, faces: bytes, out: Path) -> Redacted:
    times = []
    with (
        _packets(todo) as (stream, packets),
        av.open(str(out), "w", format="nut", options={"avoid_negative_ts": "disabled"}) as result,
    ):
        copied = result.add_stream_from_template(stream)
        copied.time_base = stream.time_base
        for packet in packets:
            times.append(packet.pts)
            packet.stream = copied
            result.mux(packet)
    return Redacted(array("q", times), 0)


@contextmanager
def _packets(todo: Assignment) -> Iterator[tuple[av.video.stream.VideoStream, Iterator[av.Packet]]]:
    """The packets of a segment; each is a frame of its own."""
    segment = Segment(b"", todo.segment.start, todo.segment.end)  # type: ignore[arg-type]  # for its `holds`
    with open_ranged(todo.manifest.source) as file, open_video(file) as (container, stream):
        if segment.start is not None:
            container.seek(segment.start, stream=stream, backward=True)

        def within() -> Iterator[av.Packet]:
            for packet in container.demux(stream):
                todo.keep_claim()
                if packet.pts is None or (segment.end is not None and packet.pts >= segment.end):
                    return
                if segment.holds(packet.pts):
                    yield packet

        assert time_base(stream) == Fraction(todo.manifest.video.time_base)
        yield stream, within()
