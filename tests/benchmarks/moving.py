"""Measure data transfer: ingest of 10 s and 2 h, the join of a result of 10 GB, and the linking of a long crowd.

    python -m tests.benchmarks.moving [--gigabytes 10] [--work FOLDER]

Ingest runs in its own process with fake-gcs-server, five times each: with and without a target picture, and behind a
proxy that delays each response as the cloud does. The join writes its samples to a file in the work folder, which needs
that much disk space. It creates each segment when it is opened, and reads the samples again to check them. The source
has AAC sound. The crowd is ten faces that cross the picture, sampled six times per second. Memory is the process's
largest resident set.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np

from tests.clips import astronaut, encode_picture

RATE = 30
AAC_RATE, AAC_SAMPLES = 48_000, 1024
MILLION = 1_000_000
CROWD = 10
SEGMENT = 900_000  # of 1/90000 s
FAR_SECONDS = 0.02  # less than Cloud Storage needs for most requests
SETTINGS = {
    "DEFACER_PROJECT": "bench", "DEFACER_INTAKE_BUCKET": "intake", "DEFACER_WORK_BUCKET": "work",
    "DEFACER_OUTPUT_BUCKET": "output",
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.moving", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--gigabytes", type=float, default=10.0, help="size of the joined result (default: 10)"
    )
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="folder of the results (default: temporary)"
    )
    parser.add_argument("--only", choices=["ingest"], help="measure only this part")
    parser.add_argument("--step", choices=["ingest", "source", "join", "link"], help=argparse.SUPPRESS)
    parser.add_argument("--hours", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=int, default=RATE, help=argparse.SUPPRESS)
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "ingest":
        print(json.dumps(_ingest(arguments.source)))
        return 0
    if arguments.step == "source":
        _long_video(arguments.work, arguments.seconds, arguments.rate, sound=True)
        print("{}")
        return 0
    if arguments.step == "link":
        print(json.dumps(_link(arguments.hours)))
        return 0
    with tempfile.TemporaryDirectory(prefix="defacer-moving-", dir=arguments.work) as folder:
        if arguments.step == "join":
            print(json.dumps(_join(Path(folder), arguments.gigabytes, arguments.rate)))
            return 0
        print("| | time | peak memory |\n|---|---|---|")
        _measure_ingest(Path(folder))
    if arguments.only:
        return 0
    work = ["--work", str(arguments.work)] if arguments.work else []
    for size, rate in (
        (arguments.gigabytes / 10, RATE),
        (arguments.gigabytes, RATE),
        (arguments.gigabytes, 2 * RATE),
    ):
        found = _step("join", "--gigabytes", str(size), "--rate", str(rate), *work)
        what = f"join and check of {size:g} GB, {found['frames']:.0f} frames in {found['hours']:.1f} h"
        print(f"| {what} | {found['seconds']:.0f} s | {found['megabytes']:.0f} MB |")
    for hours in (0.3, 3):
        found = _step("link", "--hours", str(hours))
        what = (
            f"link of {hours:g} h, {found['faces']:.0f} detected faces, {found['document']:.0f} MB of faces"
        )
        print(f"| {what} | {found['seconds']:.0f} s | {found['megabytes']:.0f} MB |")
    return 0


def _step(
    name: str, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.moving", "--step", name, *arguments]
    environ = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure_ingest(folder: Path) -> None:
    from google.cloud import pubsub_v1, storage

    from tests.proxy import Proxy, open_proxy
    from tests.servers import pubsub_server, storage_server

    with (
        storage_server() as storage_address,
        pubsub_server() as pubsub_address,
        open_proxy(storage_address, Proxy) as proxy,
    ):
        os.environ |= SETTINGS | {
            "STORAGE_EMULATOR_HOST": storage_address,
            "PUBSUB_EMULATOR_HOST": pubsub_address,
        }
        client = storage.Client(project="bench")
        for name in ("intake", "work", "output"):
            client.create_bucket(name)
        publisher = pubsub_v1.PublisherClient()
        for topic in ("segments", "segments-done", "job-events"):
            publisher.create_topic(request={"name": publisher.topic_path("bench", topic)})
        proxy.fails = lambda method, path: time.sleep(FAR_SECONDS) is not None
        for what, address in (
            ("", storage_address),
            (f", each answer of storage {1000 * FAR_SECONDS:g} ms away", proxy.address),
            (", with a target", storage_address),
        ):
            if "target" in what:
                data = encode_picture(astronaut())
                client.bucket("intake").blob("channels/a/targets/ann.png").upload_from_string(data)
            for seconds in (10, 7200):
                path = _long_video(folder / f"{seconds}.mp4", seconds)
                runs = []
                for _ in range(5):
                    blob = client.bucket("intake").blob("channels/a/videos/in.mp4")
                    blob.upload_from_filename(str(path), timeout=300)
                    environment = {"STORAGE_EMULATOR_HOST": address}
                    runs.append(_step("ingest", "--source", str(blob.generation), environment=environment))
                wall = statistics.median(run["seconds"] for run in runs)
                memory = statistics.median(run["megabytes"] for run in runs)
                size = f"ingest of {seconds} s ({path.stat().st_size / MILLION:.0f} MB)"
                print(f"| {size}{what} | {wall:.2f} s | {memory:.0f} MB |", flush=True)


def _long_video(path: Path, seconds: int, rate: int = RATE, *, sound: bool = False) -> Path:
    """Write a video that repeats one second of H.264, and optionally of AAC."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        options = {"preset": "ultrafast", "bf": "0", "g": str(rate)}
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
        tone = out.add_stream("aac", rate=AAC_RATE, layout="stereo") if sound else None
        packets = []
        for number in range(rate):
            frame = av.VideoFrame.from_ndarray(
                np.full((360, 640, 3), 5 * number % 256, np.uint8), format="rgb24"
            )
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        second = [(bytes(packet), packet.is_keyframe) for packet in packets]
        noise = _sound_packet(tone) if tone else b""
        sound_frames = 0
        for number, (data, is_key) in zip(range(seconds * rate), itertools.cycle(second), strict=False):
            _mux(out, stream, data, number, Fraction(1, rate), is_key)
            while tone and sound_frames * AAC_SAMPLES / AAC_RATE <= number / rate:
                _mux(out, tone, noise, sound_frames * AAC_SAMPLES, Fraction(1, AAC_RATE), True, AAC_SAMPLES)
                sound_frames += 1
    return path


def _sound_packet(stream: av.audio.stream.AudioStream) -> bytes:
    """Return an AAC packet of noise, which is as large as one of real sound."""
    noise = np.random.default_rng(0).normal(0, 0.1, (2, AAC_SAMPLES)).astype(np.float32)
    packets = []
    for number in range(4):
        frame = av.AudioFrame.from_ndarray(noise, "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = AAC_RATE, number * AAC_SAMPLES, Fraction(1, AAC_RATE)
        packets += stream.encode(frame)
    return bytes(packets[-1])


def _mux(
    out: av.container.OutputContainer,
    stream: av.stream.Stream,
    data: bytes,
    pts: int,
    base: Fraction,
    is_key: bool,
    duration: int = 1,
) -> None:
    packet = av.Packet(data)
    packet.stream, packet.time_base, packet.is_keyframe = stream, base, is_key
    packet.pts = packet.dts = pts
    packet.duration = duration
    out.mux(packet)


def _ingest(generation: str) -> dict[str, float]:
    """Plan a job as the function does."""
    from defacer.ingest import plan_job
    from defacer.ingest.engine_adapter import IngestEngine
    from defacer.pipeline.documents.base import ObjectRef

    started = time.perf_counter()
    ref = ObjectRef(bucket="intake", name="channels/a/videos/in.mp4", generation=int(generation))
    plan_job.plan_upload_job(ref, IngestEngine())
    return {"seconds": time.perf_counter() - started, "megabytes": _megabytes()}


def _join(folder: Path, gigabytes: float, rate: int) -> dict[str, float]:
    """Join a result of the size of 1080p at 8 Mbit/s, with sound."""
    from defacer.engine.media.joiner import SegmentFile, check_result, join
    from defacer.engine.media.segment_writer import WrittenSegment

    frame_bytes, in_segment = 33_000 * RATE // rate, 10 * rate
    count = round(gigabytes * 1e9 / frame_bytes / in_segment) * in_segment
    source = folder / "source.mp4"
    # In another process, so that its memory does not count as that of joining.
    _step("source", "--work", str(source), "--rate", str(rate), "--seconds", str(count // rate))
    with av.open(str(source)) as container:
        base = container.streams.video[0].time_base or Fraction(1, rate)
    unit = round(1 / rate / base)

    @contextmanager
    def opened(first: int) -> Iterator[str]:
        path = folder / "segment.nut"
        with av.open(str(path), "w", format="nut", options={"avoid_negative_ts": "disabled"}) as out:
            stream = out.add_mux_stream("mjpeg", rate=rate, width=640, height=360)
            stream.time_base = base
            for number in range(first, first + in_segment):
                packet = av.Packet(bytes(frame_bytes))
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, True
                packet.pts = packet.dts = number * unit
                out.mux(packet)
        yield str(path)

    segments = [
        SegmentFile(
            partial(opened, first),
            WrittenSegment(array("q", range(first * unit, (first + in_segment) * unit, unit)), 0),
        )
        for first in range(0, count, in_segment)
    ]
    started = time.perf_counter()
    samples = folder / "samples"
    with samples.open("wb") as body:
        joined = join(str(source), segments, body)
    # Append the samples to the header, so that they are written only once.
    result = folder / "result.mp4"
    with result.open("wb") as file:
        file.write(joined.head)
    _append(samples, result)
    check_result(str(result), joined)
    seconds = time.perf_counter() - started
    hours = count / rate / 3600
    return {"seconds": seconds, "megabytes": _megabytes(), "frames": count, "hours": hours}


def _link(hours: float) -> dict[str, float]:
    """Link as merge does, with segment detections that are generated when they are read."""
    from defacer.merge.engine_adapter import MergeEngine
    from defacer.pipeline.documents.base import ObjectRef
    from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange, Video
    from defacer.pipeline.media_engine import LinkInput, StoredDetections

    ref = ObjectRef(bucket="intake", name="channels/a/videos/in.mp4", generation=1)
    ends = [None, *(number * SEGMENT for number in range(1, round(hours * 360))), None]
    segments = tuple(TimeRange(start=start, end=end) for start, end in itertools.pairwise(ends))
    manifest = Manifest(
        job="0" * 20, channel="a", source=ref, source_size=1, result="r", report="r", policy=Policy(), targets=(),
        gallery=None, replacement=None, segments=segments,
        video=Video(width=1920, height=1080, codec="h264", duration_seconds=None, time_base="1/90000", start_pts=0),
    )  # fmt: skip
    os.environ |= SETTINGS
    detections = (StoredDetections(number, _crowd(number)) for number in range(len(segments)))
    started = time.perf_counter()
    linked = MergeEngine().link(LinkInput(manifest, None, detections, lambda: None))
    seconds = time.perf_counter() - started
    faces = float(linked.sampled_frames * CROWD)
    return {
        "seconds": seconds, "megabytes": _megabytes(), "faces": faces, "document": len(linked.document) / MILLION,
    }  # fmt: skip


def _crowd(segment: int) -> bytes:
    """Return the detections of ten seconds, while each face crosses the picture once."""
    from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections, SegmentDetections

    sampled = []
    for sample in range(60):
        boxes = [
            (30.0 * sample + 5, 105.0 * row, 30.0 * sample + 75, 105.0 * row + 90) for row in range(CROWD)
        ]
        seen = tuple(DetectedFace(np.array(box, np.float32), 0.9, 0.5) for box in boxes)
        sampled.append(FrameDetections(segment * SEGMENT + sample * 15_000, sample == 0, seen))
    findings = SegmentDetections(
        "centerface", 0.5, None, 1920, 1080, Fraction(1, 90_000), 300, tuple(sampled)
    )
    return findings.to_bytes()


def _append(samples: Path, result: Path) -> None:
    with samples.open("rb") as read, result.open("ab") as write:
        while piece := read.read(MILLION):
            write.write(piece)
    samples.unlink()


def _megabytes() -> float:
    """Return the largest resident set so far. getrusage would include the parent's memory at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MILLION for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.exit(main())
