"""Jobs under load, on the local emulator with a worker that only copies, and what was counted of them."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from defacer.pipeline.documents.report import Report
from defacer.pipeline.storage import object_names
from defacer_emulator.emulator import Emulator, Options
from tests.load.notes import read_notes

FUNCTIONS = Path(__file__).parent / "functions"
RATE = 2
STEPS = ("detect", "redact")
PAGE = 1000  # objects of one answer of Cloud Storage to a listing


@dataclass(frozen=True)
class Load:
    """What came of some jobs of `segments` segments each.

    `lost` are messages about a segment that reached no worker, `listings` answers to list calls per job, `merge_ms`
    milliseconds of the processor for linking and joining, per segment. `memory` is the most that merge ever held, in
    MB, and `worker_memory` that a worker did. `waited` are the seconds until the last segment reached a worker, `again`
    deliveries of segments beyond the first.
    """

    jobs: int
    segments: int
    seconds: float
    published: int
    failed: int
    dead_letters: int
    wrong: int
    lost: int
    listings: float
    merge_ms: float
    memory: float
    worker_memory: float
    waited: float
    deliveries: int
    again: int


def write_clip(path: Path, seconds: int) -> Path:
    """Small pictures, each a key frame: a packet is a frame, and any part of it can be copied."""
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


def emulator(folder: Path) -> Emulator:
    """One whose worker only copies; each second is a segment. It writes down what it does in `notes`."""
    variables = (
        ("DEFACER_SEGMENT_SECONDS", "1"),
        ("LOAD_NOTES", str(folder / "notes")),
        # Many times as long as a step takes here, and short enough for a run.
        ("DEFACER_LEASE_SECONDS", "30"),
    )
    return Emulator(Options(folder / "state", "builtin", functions=FUNCTIONS, variables=variables))


def load(running: Emulator, folder: Path, jobs: int, segments: int, most_seconds: float) -> Load:
    """Drop so many videos at once and wait for the end of all of them."""
    clip = write_clip(folder / f"{segments}.mp4", segments).read_bytes()
    before = len(read_notes(folder / "notes"))
    client, started, dropped = running.storage_client(), time.monotonic(), time.time()
    names = [f"channels/load/videos/{jobs}-{segments}-{number}.mp4" for number in range(jobs)]
    ids = {}
    for name in names:
        blob = client.bucket(running.intake).blob(name)
        blob.upload_from_string(clip, "video/mp4")
        ids[object_names.job_id(running.intake, name, int(blob.generation))] = name
    ends = _wait(running, ids, started + most_seconds)
    seconds = time.monotonic() - started
    notes = read_notes(folder / "notes")[before:]
    return _counted(running, ids, ends, notes, segments, (seconds, dropped))


def _wait(running: Emulator, ids: dict[str, str], until: float) -> dict[str, str]:
    """How each job has ended; jobs that have not are left out."""
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


def _counted(
    running: Emulator, ids: dict[str, str], ends: dict[str, str], notes: list[dict[str, Any]], segments: int,
    times: tuple[float, float],
) -> Load:  # fmt: skip
    seconds, dropped = times
    delivered = [n for n in notes if n["kind"] == "delivery" and n["job"] in ids]
    first: dict[tuple[str, int, str], float] = {}
    for n in delivered:
        first.setdefault((n["job"], n["index"], n["step"]), n["at"])
    listings = sum(-(-max(n["objects"], 1) // PAGE) for n in notes if n["kind"] == "list" and n["job"] in ids)
    logs = dict(running.log_files())
    return Load(
        jobs=len(ids),
        segments=segments,
        seconds=seconds,
        published=list(ends.values()).count("published"),
        failed=list(ends.values()).count("failed"),
        dead_letters=logs["dead_letter"].read_text().count('"message"'),
        wrong=sum(not _is_right(running, name, segments) for job, name in ids.items() if ends.get(job)),
        lost=len(ids) * segments * len(STEPS) - len(first),
        listings=listings / len(ids),
        merge_ms=sum(_milliseconds(notes, work, segments) for work in ("link", "join")),
        memory=_most(n["memory"] for n in notes if n["kind"] != "delivery"),
        worker_memory=_most(n["memory"] for n in delivered),
        waited=_most(at - dropped for at in first.values()),
        deliveries=len(delivered),
        again=len(delivered) - len(first),
    )


def _milliseconds(notes: list[dict[str, Any]], work: str, segments: int) -> float:
    """Of one segment, in the middle one of these jobs."""
    done = [n["seconds"] / n["segments"] for n in notes if (n["kind"], n.get("segments")) == (work, segments)]
    return 1000 * statistics.median(done) if done else float("nan")


def _most(values: Iterable[float]) -> float:
    return max(values, default=float("nan"))


def _is_right(running: Emulator, name: str, segments: int) -> bool:
    """Whether what was published says that it holds every frame; merge has read it once more before."""
    video = object_names.parse_video(name)
    blob = running.storage_client().bucket(running.output).get_blob(video.report) if video else None
    if blob is None:
        return False
    report = Report.model_validate_json(blob.download_as_bytes())
    return report.frames == segments * RATE == sum(segment.frames for segment in report.segments)
