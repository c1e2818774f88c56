"""The bytes that are read: ingest reads a header, and a worker its own range, whatever the size of the file."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.options import Options
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.ingest.engine_adapter import IngestEngine
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange, Video
from defacer.pipeline.media_engine import StepInput, VideoHeader
from defacer.pipeline.storage import objects
from defacer.worker.engine_adapter import WorkerEngine
from tests.cloud import Buckets
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

MEGABYTE = 1_000_000
FRAMES, RATE = 1000, 25


@pytest.fixture(scope="module")
def frame_bytes() -> bytes:
    """Return a JPEG of about a megabyte."""
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert 0.9 * MEGABYTE < len(data) < 1.5 * MEGABYTE
    return data


@pytest.fixture(scope="module", params=["first", "last"])
def gigabyte(
    request: pytest.FixtureRequest, frame_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Return the place of the index and a video of more than a gigabyte."""
    path = tmp_path_factory.mktemp("large") / "in.mp4"
    options = {"movflags": "faststart"} if request.param == "first" else {}
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_mux_stream("mjpeg", rate=RATE, width=1280, height=720)
        stream.time_base = Fraction(1, RATE)
        for number in range(FRAMES):
            packet = av.Packet(frame_bytes)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            out.mux(packet)
    assert path.stat().st_size > 1000 * MEGABYTE
    return request.param, path


@pytest.fixture
def uploaded(buckets: Buckets, gigabyte: tuple[str, Path]) -> tuple[str, ObjectRef]:
    where, path = gigabyte
    blob = buckets.client.bucket(buckets.intake).blob("channels/street/videos/large.mp4")
    blob.chunk_size = 256 * 1024 * 1024  # the emulator copies the whole object for each chunk
    blob.upload_from_filename(str(path), timeout=300)
    return where, ObjectRef(bucket=buckets.intake, name=blob.name, generation=int(blob.generation))


def test_ingest_and_worker_read_little_of_a_gigabyte(
    uploaded: tuple[str, ObjectRef], proxy: Proxy, tmp_path: Path
) -> None:
    where, source = uploaded
    info = IngestEngine().probe(source, Policy())
    assert info.duration_seconds == pytest.approx(FRAMES / RATE, abs=0.1)
    index = 0 if where == "first" else MEGABYTE
    assert proxy.downloaded_bytes <= 8 * MEGABYTE + index

    header = proxy.downloaded_bytes
    stored = objects.find_blob(source.bucket, source.name)
    assert stored is not None
    start, end = (round(seconds / info.time_base) for seconds in (20, 21))
    step = StepInput(manifest_of(source, stored.size, info), TimeRange(start=start, end=end), lambda: None)
    proxy.downloaded_bytes = 0
    findings = SegmentDetections.from_bytes(WorkerEngine().detect(step))
    assert findings.frames == RATE
    context = 2 * 2 * RATE  # frames of two seconds on both sides
    assert proxy.downloaded_bytes <= 2 * header + (RATE + context) * 1.5 * MEGABYTE

    faces = link_faces([findings], None, Options())
    proxy.downloaded_bytes = 0
    written = WorkerEngine().redact(step, faces.to_bytes(), tmp_path / "segment.nut")
    assert len(written.frames) == RATE
    assert proxy.downloaded_bytes <= 2 * header + (RATE + context) * 1.5 * MEGABYTE


def manifest_of(source: ObjectRef, size: int, info: VideoHeader) -> Manifest:
    base = f"{info.time_base.numerator}/{info.time_base.denominator}"
    return Manifest(
        job="0" * 20, channel="street", source=source, source_size=size, result="r", report="r", policy=Policy(),
        targets=(), gallery=None, replacement=None, segments=(TimeRange(start=None, end=None),),
        video=Video(width=1280, height=720, codec=info.codec, duration_seconds=40, time_base=base, start_pts=0),
    )  # fmt: skip
