"""The simulated uploads of a day: their times, lengths and sizes, and their segments."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from random import Random

from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.segmentation import choose_segment_seconds, plan_segments
from defacer.pipeline.settings import Settings
from infra.capacity.inputs import inputs
from infra.capacity.speed import SIZES, FrameSize

DAY = 86_400.0
MILLISECONDS = Fraction(1, 1000)
KEYFRAME_SECONDS = 2
ARCHIVED_CLIPS, CLIP_SECONDS = 500, 60.0
# Share of the uploads, minimum and maximum seconds (uniformly distributed): shorts, clips, videos, streams.
LENGTHS = ((0.65, 15, 60), (0.27, 120, 480), (0.07, 600, 1800), (0.01, 2700, 7200))
SIZE_SHARES = (0.3, 0.6, 0.1)
# A peak at 18:00, and a fifth of all uploads within two minutes after a full hour, when schedules start.
PEAK_HOUR, SWING, ON_THE_HOUR, BURST_SECONDS = 18, 0.8, 0.2, 120


@cache
def default_settings() -> Settings:
    """Return the pipeline's settings as deployed: all defaults. The names do not matter here."""
    return Settings(project="capacity", intake_bucket="intake", work_bucket="work", output_bucket="output")


@dataclass(frozen=True)
class SimulatedUpload:
    """A video and its arrival, in seconds after midnight. Without a `channel` it is the only video of its channel."""

    at: float
    seconds: float
    size: FrameSize
    channel: str | None = None

    @property
    def gigabytes(self) -> float:
        per_second = inputs()["megabits"] / 8000 * self.size.megapixels / SIZES[1].megapixels
        return self.seconds * per_second

    def segments(self) -> tuple[float, ...]:
        """Return the length of each segment, as ingest plans it."""
        ranges = plan_segments(self._header(), choose_segment_seconds(self._header(), default_settings()))
        end = int(self.seconds * 1000)
        return tuple(((r.end if r.end is not None else end) - (r.start or 0)) / 1000 for r in ranges)

    def _header(self) -> VideoHeader:
        return VideoHeader(
            self.size.width,
            self.size.height,
            "h264",
            MILLISECONDS,
            start_pts=0,
            duration_seconds=self.seconds,
            frame_rate=inputs()["frame_rate"],
            keyframes=tuple(range(0, int(self.seconds * 1000), KEYFRAME_SECONDS * 1000)),
        )


def day_uploads(count: int, random: Random) -> list[SimulatedUpload]:
    """Return the uploads of one day, in the order of their arrival."""
    return sorted((_upload(random) for _ in range(count)), key=lambda upload: upload.at)


def archive_uploads(count: int, random: Random) -> list[SimulatedUpload]:
    """Return a channel's earlier videos, uploaded at the same time."""
    return [replace(upload, at=0.0, channel="archive") for upload in day_uploads(count, random)]


def clips_beside_archive() -> tuple[list[SimulatedUpload], list[SimulatedUpload]]:
    """Return the clips that one channel uploads at once, and a clip of each of eleven other channels."""
    clip = SimulatedUpload(0.0, CLIP_SECONDS, SIZES[1])
    archive = [replace(clip, channel="archive")] * ARCHIVED_CLIPS
    return archive, [replace(clip, at=40.0 * number) for number in range(11)]


def _upload(random: Random) -> SimulatedUpload:
    (_, shortest, longest) = random.choices(LENGTHS, [share for share, _, _ in LENGTHS])[0]
    (size,) = random.choices(SIZES, SIZE_SHARES)
    return SimulatedUpload(next(_times(random)), random.uniform(shortest, longest), size)


def _times(random: Random) -> Iterator[float]:
    """Yield random times of day. Rejection sampling keeps more candidates in busy hours."""
    while True:
        at = random.uniform(0, DAY)
        busy = 1 + SWING * math.cos(2 * math.pi * (at / 3600 - PEAK_HOUR) / 24)
        if random.uniform(0, 1 + SWING) < busy:
            if random.random() < ON_THE_HOUR:
                at = at - at % 3600 + random.uniform(0, BURST_SECONDS)
            yield at
