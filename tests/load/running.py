"""Run jobs under load on the local emulator with a worker that only copies, and measure them."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.storage import object_names
from defacer_emulator.emulator import Emulator, EmulatorOptions
from tests.load.notes import read_notes

FUNCTIONS = Path(__file__).parent / "functions"
ROOT = Path(__file__).parents[2]
RATE = 2
STEPS = ("detect", "redact")
PAGE = 1000  # objects in one response of Cloud Storage to a listing


@dataclass(frozen=True)
class Load:
    """The measurements of some jobs of `segments` segments each.

    - `incomplete`: results that lack frames
    - `lost`: messages about a segment that reached no worker
    - `listings`: responses to list calls per job
    - `merge_ms`: milliseconds of CPU time per segment for linking and joining
    - `merge_memory`, `worker_memory`: the peak memory of merge and of a worker, in MB
    - `longest_wait`: seconds until the last segment reached a worker
    - `redeliveries`: deliveries of segments after the first
    """

    jobs: int
    segments: int
    seconds: float
    published: int
    failed: int
    dead_letters: int
    incomplete: int
    lost: int
    listings: float
    merge_ms: float
    merge_memory: float
    worker_memory: float
    longest_wait: float
    deliveries: int
    redeliveries: int


def write_clip(path: Path, seconds: int) -> Path:
    """Write a clip of small key frames: each packet is a frame, so a segment can be copied without decoding."""
    with av.open(str(path), "w") as out:
        options = {"preset": "ultrafast", "g": "1", "bf": "0", "threads": "1"}
        stream = out.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, RATE)
        for number in range(seconds * RATE):
            picture = np.full((96, 128, 3), number % 251, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def run_emulator(folder: Path, *more: tuple[str, str]) -> Emulator:
    """Return an emulator with a worker that only copies. Each second is a segment. The functions write to `notes`."""
    variables = (
        ("DEFACER_SEGMENT_SECONDS", "1"),
        ("LOAD_NOTES", str(folder / "notes")),
        # The functions import this package. An emulator's processes import no file of their current folder.
        ("PYTHONPATH", str(ROOT)),
        # Much longer than a step takes here, and short enough for a run.
        ("DEFACER_LEASE_SECONDS", "30"),
        *more,
    )
    return Emulator(EmulatorOptions(folder / "state", "builtin", functions=FUNCTIONS, variables=variables))


def run_jobs(running: Emulator, folder: Path, jobs: int, segments: int, max_seconds: float) -> Load:
    """Drop this number of videos at once, wait for the end of all jobs, and return the measurements."""
    clip = write_clip(folder / f"{segments}.mp4", segments).read_bytes()
    before = len(read_notes(folder / "notes"))
    client, started, dropped = running.storage_client(), time.monotonic(), time.time()
    names = [f"channels/load/videos/{jobs}-{segments}-{number}.mp4" for number in range(jobs)]
    ids = {}
    for name in names:
        blob = client.bucket(running.intake).blob(name)
        blob.upload_from_string(clip, "video/mp4")
        ids[object_names.job_id(running.intake, name, int(blob.generation))] = name
    ends = wait_for_ends(running, ids, started + max_seconds)
    seconds = time.monotonic() - started
    notes = read_notes(folder / "notes")[before:]
    return _measure(running, ids, ends, notes, segments, (seconds, dropped))


def wait_for_ends(running: Emulator, ids: dict[str, str], until: float) -> dict[str, str]:
    """Return how each job has ended. Jobs that have not ended are missing."""
    client = running.storage_client()
    ends: dict[str, str] = {}
    while len(ends) < len(ids) and time.monotonic() < until:
        for job in ids.keys() - ends.keys():
            for end, name in (
                ("published", object_names.published(job)),
                ("failed", object_names.failed(job)),
            ):
                if client.bucket(running.work).get_blob(name) is not None:
                    ends[job] = end
        running.check()
        time.sleep(0.5)
    return ends


def _measure(
    running: Emulator, ids: dict[str, str], ends: dict[str, str], notes: list[dict[str, Any]], segments: int,
    times: tuple[float, float],
) -> Load:  # fmt: skip
    seconds, dropped = times
    delivered = [note for note in notes if note["kind"] == "delivery" and note["job"] in ids]
    first: dict[tuple[str, int, str], float] = {}
    for note in delivered:
        first.setdefault((note["job"], note["index"], note["step"]), note["at"])
    listings = sum(
        -(-max(note["objects"], 1) // PAGE) for note in notes if note["kind"] == "list" and note["job"] in ids
    )
    logs = dict(running.log_files())
    return Load(
        jobs=len(ids),
        segments=segments,
        seconds=seconds,
        published=list(ends.values()).count("published"),
        failed=list(ends.values()).count("failed"),
        dead_letters=logs["dead_letter"].read_text().count('"message"'),
        incomplete=sum(
            not _is_complete(running, name, segments) for job, name in ids.items() if ends.get(job)
        ),
        lost=len(ids) * segments * len(STEPS) - len(first),
        listings=listings / len(ids),
        merge_ms=sum(_milliseconds(notes, work, segments) for work in ("link", "join")),
        merge_memory=_max(note["memory"] for note in notes if note["kind"] != "delivery"),
        worker_memory=_max(note["memory"] for note in delivered),
        longest_wait=_max(at - dropped for at in first.values()),
        deliveries=len(delivered),
        redeliveries=len(delivered) - len(first),
    )


def _milliseconds(notes: list[dict[str, Any]], work: str, segments: int) -> float:
    """Return the CPU time of one segment, as the median of these jobs."""
    measured = [
        note["seconds"] / note["segments"]
        for note in notes
        if (note["kind"], note.get("segments")) == (work, segments)
    ]
    return 1000 * statistics.median(measured) if measured else float("nan")


def _max(values: Iterable[float]) -> float:
    return max(values, default=float("nan"))


def _is_complete(running: Emulator, name: str, segments: int) -> bool:
    """Return whether the published report has every frame. Merge has verified the result before."""
    video = object_names.parse_video(name)
    blob = running.storage_client().bucket(running.output).get_blob(video.report) if video else None
    if blob is None:
        return False
    report = JobReport.from_bytes(blob.download_as_bytes())
    return report.frames == segments * RATE == sum(segment.frames for segment in report.segments)
